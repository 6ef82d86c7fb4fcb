"""The gallery as an index that queries are matched against, and enrolment."""
