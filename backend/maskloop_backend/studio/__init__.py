"""Everything that knows Label Studio: label configs, task images, predictions, the REST client, connect, doctor."""
