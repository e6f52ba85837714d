"""SQL statements that read and change stock and holds. Shared by activities, API and command line."""
