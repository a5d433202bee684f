"""DynamoDB's hot operations as bytes, both ways: signed requests leave, answers become boto's."""
