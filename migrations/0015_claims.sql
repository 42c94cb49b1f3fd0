-- A claim reads a project's waiting runs in their order, straight from an index: without the project in it, a long queue
-- whose rows the statistics do not know yet was sorted whole at each claim, and a project paid for the queues of others.

DROP INDEX headrace.run_live;
CREATE INDEX run_live ON headrace.run (project_id, rank, id)
    WHERE status IN ('initial', 'running')
      AND (gates IS NULL OR admitted_at IS NOT NULL OR cancel_requested_at IS NOT NULL);
