{{ odd_orders('required_date > order_date + ' ~ var('max_days_to_require')) }}
