"""The ASGI application: webhooks in, media sockets in."""
