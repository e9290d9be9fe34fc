"""What people look at, and the OpenAPI document that it is made of."""
