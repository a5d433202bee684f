"""Items of the DynamoDB table: each read and write with its precondition."""
