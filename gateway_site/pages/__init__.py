"""The pages of somebody who is signed in. They name tokens, and never show one."""
