"""DynamoDB's operations as bytes: signed requests leave, responses are parsed. No I/O."""
