"""The brain of a call, pure: told what happened and when, it answers with what to do."""
