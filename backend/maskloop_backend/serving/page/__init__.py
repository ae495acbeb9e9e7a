"""The page that people look at: `/` in a browser, behind the same credentials as everything else."""
