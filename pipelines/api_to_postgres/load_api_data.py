import pandas as pd
from headrace import data_loader, test


@data_loader
def load_data_from_api(*args, **kwargs):
    """Trips of yellow taxis, from the compressed CSV file at the pipeline's variable `url`."""
    url = kwargs["url"]

    # reduces memory usage in pandas
    taxi_dtypes = {
        "VendorID": pd.Int64Dtype(),
        "passenger_count": pd.Int64Dtype(),
        "trip_distance": float,
        "RatecodeID": pd.Int64Dtype(),
        "store_and_fwd_flag": str,
        "PULocationID": pd.Int64Dtype(),
        "DOLocationID": pd.Int64Dtype(),
        "payment_type": pd.Int64Dtype(),
        "fare_amount": float,
        "extra": float,
        "mta_tax": float,
        "tip_amount": float,
        "tolls_amount": float,
        "improvement_surcharge": float,
        "total_amount": float,
        "congestion_surcharge": float,
    }
    return pd.read_csv(
        url,
        sep=",",
        compression="gzip",
        dtype=taxi_dtypes,
        parse_dates=["tpep_pickup_datetime", "tpep_dropoff_datetime"],
    )


@test
def test_output(output, *args) -> None:
    assert output is not None, "The output is undefined"
