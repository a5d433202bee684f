"""The table, key and roles of a store, as templates and policies for an operator to deploy."""
