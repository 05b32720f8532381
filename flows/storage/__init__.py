"""The only room that speaks SQL: observations, forecasts, runs, incidents and the outbox."""
