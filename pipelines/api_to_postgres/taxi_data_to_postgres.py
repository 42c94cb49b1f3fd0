from os import path

from headrace import data_exporter, get_repo_path
from headrace.io import ConfigFileLoader, Postgres
from pandas import DataFrame


@data_exporter
def export_data_to_postgres(df: DataFrame, **kwargs) -> None:
    """Replaces the table with these trips."""
    schema_name = "ny_taxi"
    table_name = "yellow_cab_data"
    config_profile = "dev"
    config_path = path.join(get_repo_path(), "io_config.yaml")

    with Postgres.with_config(ConfigFileLoader(config_path, config_profile)) as loader:
        loader.export(
            df,
            schema_name,
            table_name,
            index=False,  # Specifies whether to include index in exported table
            if_exists="replace",  # Specify resolution policy if table name already exists
        )
