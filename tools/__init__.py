"""What contributors run and users never do: servers, benchmarks, measuring, house rules."""
