-- A call that made its answer and said all of it claims nothing: it is found in the events by its id, when
-- somebody asks for the answer.

comment on table farebox_private.response_claims is 'Which event was charged for an answer of a provider, so that it is charged once. Calls that made their answers and said all of it have no row until somebody asks for the answer; they are looked up in usage_events.';
