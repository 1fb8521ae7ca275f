"Services that are BigQuery or a bucket as far as a client can tell, on loopback."
