"""The core: what a customization job is asked for, known by, and ends in. No Airflow import, no I/O."""
