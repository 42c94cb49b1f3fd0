SELECT * FROM ny_taxi.yellow_cab_data LIMIT 10;
