-- What reads need: looking runs up, when a session is over, and what comparisons with vendors' own reports found.

create index usage_events_of_run on farebox_private.usage_events (run_id, span_id) where run_id is not null;

-- Parsed when it is made, so that no search_path of a caller can bend it.
create function farebox_private.session_idle() returns interval
    language sql immutable parallel safe
    return interval '30 minutes';
comment on function farebox_private.session_idle() is
    'How long nothing may happen in a session before it counts as closed.';
grant execute on function farebox_private.session_idle() to farebox_reader, farebox_collector, farebox_tenant;

create function farebox_private.modality(endpoint text) returns text
    language sql immutable parallel safe
    return case
        when endpoint in ('transcription', 'listen') then 'speech_to_text'
        when endpoint in ('speech', 'speak') then 'text_to_speech'
        when endpoint in ('realtime', 'agent') then 'voice'
        when endpoint in ('image', 'video', 'ocr', 'batch', 'other') then endpoint
        when endpoint in ('embeddings', 'rerank') then 'retrieval'
        else 'text'
    end;
comment on function farebox_private.modality(text) is
    'What kind of exchange an endpoint is: text, speech_to_text, text_to_speech, voice, image, video, ocr, retrieval, batch, other.';
grant execute on function farebox_private.modality(text) to farebox_reader, farebox_collector, farebox_tenant;

create table farebox_private.reconciliations (
    reconciliation_id uuid not null,
    provider text not null,
    from_day date not null,
    to_day date not null,
    by_id boolean not null,
    tolerance_usd farebox_private.usd not null,
    tolerance_percent numeric not null,
    lines bigint not null,
    disagreeing bigint not null,
    vendor_cost_usd farebox_private.usd,
    cost_usd farebox_private.usd,
    is_within boolean not null,
    files_sha256 text not null,
    created_at timestamptz not null default now(),
    created_by text not null,
    constraint reconciliations_pkey primary key (reconciliation_id),
    constraint days_in_order check (from_day < to_day),
    constraint tolerance_not_negative check (tolerance_usd >= 0 and tolerance_percent >= 0)
);
create index reconciliations_of_provider on farebox_private.reconciliations (provider, from_day);
comment on table farebox_private.reconciliations is 'Comparisons of the ledger with a vendor''s own usage or cost report.';
comment on column farebox_private.reconciliations.reconciliation_id is 'Identifier.';
comment on column farebox_private.reconciliations.provider is 'The vendor.';
comment on column farebox_private.reconciliations.from_day is 'First day compared, UTC.';
comment on column farebox_private.reconciliations.to_day is 'The day after the last one.';
comment on column farebox_private.reconciliations.by_id is 'Whether the vendor''s report names single calls, so that they are compared one by one.';
comment on column farebox_private.reconciliations.tolerance_usd is 'A difference of cost up to this is none.';
comment on column farebox_private.reconciliations.tolerance_percent is 'A difference of units or cost up to this share of the vendor''s is none.';
comment on column farebox_private.reconciliations.lines is 'Lines compared.';
comment on column farebox_private.reconciliations.disagreeing is 'Lines with a cause.';
comment on column farebox_private.reconciliations.vendor_cost_usd is 'Sum of what the vendor reports; null: its report has no cost.';
comment on column farebox_private.reconciliations.cost_usd is 'Sum of what the ledger has for the same lines; null: the report has no cost.';
comment on column farebox_private.reconciliations.is_within is 'Whether no line has a cause.';
comment on column farebox_private.reconciliations.files_sha256 is 'SHA-256 over the files compared.';
comment on column farebox_private.reconciliations.created_at is 'When.';
comment on column farebox_private.reconciliations.created_by is 'Who.';

create table farebox_private.reconciliation_lines (
    reconciliation_id uuid not null references farebox_private.reconciliations (reconciliation_id),
    line bigint not null,
    day date,
    id text,
    credential text,
    model text,
    meter text not null,
    vendor_quantity numeric,
    quantity numeric,
    vendor_cost_usd numeric,
    cost_usd numeric,
    quantity_difference numeric,
    cost_difference_usd numeric,
    cause text,
    implied_rate numeric,
    booked_rate numeric,
    constraint reconciliation_lines_pkey primary key (reconciliation_id, line),
    constraint cause_is_known check (cause in ('coverage', 'units', 'rate'))
);
comment on table farebox_private.reconciliation_lines is 'What was compared, line by line.';
comment on column farebox_private.reconciliation_lines.reconciliation_id is 'The comparison.';
comment on column farebox_private.reconciliation_lines.line is 'Number of the line, from 1.';
comment on column farebox_private.reconciliation_lines.day is 'The day, UTC; null where calls are compared one by one.';
comment on column farebox_private.reconciliation_lines.id is 'The vendor''s request or response id; null where days are compared.';
comment on column farebox_private.reconciliation_lines.credential is 'The provider credential, where the report names it.';
comment on column farebox_private.reconciliation_lines.model is 'The model as the rate card names it; null: the report does not say.';
comment on column farebox_private.reconciliation_lines.meter is 'What is counted; cost where the report has amounts without units.';
comment on column farebox_private.reconciliation_lines.vendor_quantity is 'Units that the vendor reports.';
comment on column farebox_private.reconciliation_lines.quantity is 'Units in the ledger, corrections included.';
comment on column farebox_private.reconciliation_lines.vendor_cost_usd is 'What the vendor charges.';
comment on column farebox_private.reconciliation_lines.cost_usd is 'Cost in the ledger, corrections included.';
comment on column farebox_private.reconciliation_lines.quantity_difference is 'The vendor''s units less the ledger''s.';
comment on column farebox_private.reconciliation_lines.cost_difference_usd is 'The vendor''s cost less the ledger''s.';
comment on column farebox_private.reconciliation_lines.cause is 'coverage: one side has nothing of it. units: the quantities differ. rate: the quantities agree and the amounts do not. Null: they agree.';
comment on column farebox_private.reconciliation_lines.implied_rate is 'What the vendor charged for one unit, in US dollars.';
comment on column farebox_private.reconciliation_lines.booked_rate is 'What the ledger has for one unit, in US dollars.';

do $security$
declare
    table_name text;
begin
    foreach table_name in array array['reconciliations', 'reconciliation_lines']
    loop
        execute format('alter table farebox_private.%I enable row level security', table_name);
        execute format('alter table farebox_private.%I force row level security', table_name);
        execute format(
            'create policy operator_rows on farebox_private.%I to public using ((select farebox_private.sees_all()))',
            table_name
        );
    end loop;
end
$security$;
grant select, insert on farebox_private.reconciliations, farebox_private.reconciliation_lines to farebox_collector;
