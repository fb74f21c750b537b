"""HTTP: the server, the dispatch of requests, AWS's protocol, the admin API."""
