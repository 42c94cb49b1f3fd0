from headrace import test, transformer


@transformer
def transform(data, *args, **kwargs):
    """The trips that had passengers."""
    indices = data["passenger_count"] > 0
    num_rows_zero_passengers = data["passenger_count"].eq(0).sum()
    print("Num rows with zero passengers:", num_rows_zero_passengers)
    return data[indices]


@test
def test_output(output, *args) -> None:
    assert output["passenger_count"].eq(0).sum() == 0, "There are rows with zero passengers"
