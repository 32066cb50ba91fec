"""What Amazon Redshift alone needs: its destination, the files it copies from, its settings."""
