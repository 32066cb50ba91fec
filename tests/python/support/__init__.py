"""What the tests share: the dbt project under test, invented histories, a stand-in for Redshift."""
