"""Rows → predictions → a response."""
