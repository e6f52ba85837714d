"""The stock itself: settings, engine, tables, write statements and reads, shared by activities, api and cli."""
