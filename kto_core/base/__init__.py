"""What every room of kto_core uses: configs, errors, progress, content-addressed folders."""
