-- Sensors are shared out among the services that look for them, and no change of a trigger goes unseen.

ALTER TABLE headrace.service ADD COLUMN looks_for bigint[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN headrace.service.looks_for IS 'projects for whose sensors it looks; sensors are shared out among these';

-- `updated_at` is when a transaction began: one that commits late may have an earlier one than is known already.
ALTER TABLE headrace.trigger ADD COLUMN edition bigint NOT NULL DEFAULT 1;
COMMENT ON COLUMN headrace.trigger.edition IS 'counts its changes';

CREATE FUNCTION headrace.count_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.edition := OLD.edition + 1;
    RETURN NEW;
END
$$;

CREATE TRIGGER trigger_is_changed BEFORE UPDATE ON headrace.trigger
    FOR EACH ROW EXECUTE FUNCTION headrace.count_change();
