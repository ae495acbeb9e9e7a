"""What people see in a browser: templates and styles of the server's page and of every HTML report; no data is gathered here."""
