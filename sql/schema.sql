CREATE SCHEMA farebox;

COMMENT ON SCHEMA farebox IS 'The public face: views and functions. Tenants'' logins see their own rows only.';

CREATE SCHEMA farebox_private;

COMMENT ON SCHEMA farebox_private IS 'Tables behind the public face; not an interface.';

CREATE DOMAIN farebox_private.usd AS numeric
	CONSTRAINT at_most_twelve_decimals CHECK ((scale(VALUE) <= 12));

COMMENT ON DOMAIN farebox_private.usd IS 'US dollars, exact, at most twelve digits behind the point.';

CREATE FUNCTION farebox_private.charges_of(charges text, with_cost boolean) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (SELECT COALESCE(jsonb_agg((jsonb_build_object('model', (kept.charge -> 0), 'meter', (kept.charge -> 1), 'quantity', (kept.charge -> 2), 'cost_rate', CASE WHEN (charges_of.with_cost AND ((kept.charge -> 3) <> 'null'::jsonb)) THEN jsonb_build_object('usd', ((kept.charge -> 3) -> 0), 'per', ((kept.charge -> 3) -> 1)) ELSE NULL::jsonb END, 'price_rate', CASE WHEN ((kept.charge -> 4) <> 'null'::jsonb) THEN jsonb_build_object('usd', ((kept.charge -> 4) -> 0), 'per', ((kept.charge -> 4) -> 1)) ELSE NULL::jsonb END, 'cost_usd', CASE WHEN charges_of.with_cost THEN (kept.charge -> 5) ELSE NULL::jsonb END, 'billed_usd', (kept.charge -> 6), 'cost_rule', CASE WHEN charges_of.with_cost THEN (kept.charge -> 7) ELSE NULL::jsonb END, 'price_rule', (kept.charge -> 8)) || CASE WHEN ((kept.charge -> 9) IS NULL) THEN '{}'::jsonb ELSE jsonb_build_object('billed_quantity', (kept.charge -> 9)) END) ORDER BY kept.place), '[]'::jsonb) AS "coalesce" FROM jsonb_array_elements((charges_of.charges)::jsonb) WITH ORDINALITY kept(charge, place));

COMMENT ON FUNCTION farebox_private.charges_of(charges text, with_cost boolean) IS 'Charges as the public face shows them, from the form they are kept in; without their cost half for those who must not see it.';

CREATE FUNCTION farebox_private.is_id(id text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (((char_length(id) >= 1) AND (char_length(id) <= 128)) AND (id !~ '[\u0001-\u001f\u007f-\u009f]'::text) AND (id IS NFC NORMALIZED));

COMMENT ON FUNCTION farebox_private.is_id(id text) IS 'Whether a text is an identifier: 1 to 128 Unicode scalar values, NFC, no control characters.';

CREATE FUNCTION farebox_private.sees_all() RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN (pg_has_role('farebox_reader'::name, 'member'::text) OR pg_has_role('farebox_collector'::name, 'member'::text) OR pg_has_role('farebox_proxy'::name, 'member'::text) OR pg_has_role('farebox_retention'::name, 'member'::text) OR pg_has_role('farebox_owner'::name, 'member'::text));

COMMENT ON FUNCTION farebox_private.sees_all() IS 'Whether the current user is of the operator''s side and sees every tenant.';

CREATE TABLE farebox_private.adjustments (
    adjustment_id uuid NOT NULL,
    event_id uuid NOT NULL,
    kind text NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    old_revision text,
    new_revision text,
    booked_at timestamp with time zone DEFAULT now() NOT NULL,
    started_at timestamp with time zone NOT NULL,
    day date NOT NULL,
    period date NOT NULL,
    tenant_id text,
    customer_id text,
    project text,
    key_id uuid,
    environment text NOT NULL,
    paid_by text NOT NULL,
    provider text NOT NULL,
    endpoint text NOT NULL,
    model text,
    pricing text NOT NULL,
    meter text NOT NULL,
    quantity numeric NOT NULL,
    cost_usd farebox_private.usd NOT NULL,
    billed_usd farebox_private.usd NOT NULL,
    batch_id uuid NOT NULL,
    event_period date NOT NULL,
    events bigint DEFAULT 0 NOT NULL,
    unpriced_events bigint DEFAULT 0 NOT NULL,
    session_id text,
    run_id text,
    CONSTRAINT event_period_is_month CHECK ((EXTRACT(day FROM event_period) = (1)::numeric)),
    CONSTRAINT kind_is_known CHECK ((kind = ANY (ARRAY['reprice'::text, 'retag'::text, 'reread'::text, 'manual'::text]))),
    CONSTRAINT period_is_month CHECK ((EXTRACT(day FROM period) = (1)::numeric)),
    CONSTRAINT reason_is_given CHECK ((reason <> ''::text))
);

ALTER TABLE ONLY farebox_private.adjustments FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.adjustments IS 'Corrections of booked events, by signed amounts; events themselves never change.';

COMMENT ON COLUMN farebox_private.adjustments.adjustment_id IS 'Identifier of the adjustment.';

COMMENT ON COLUMN farebox_private.adjustments.event_id IS 'The event it corrects.';

COMMENT ON COLUMN farebox_private.adjustments.kind IS 'reprice, retag, reread or manual.';

COMMENT ON COLUMN farebox_private.adjustments.actor IS 'Who booked it.';

COMMENT ON COLUMN farebox_private.adjustments.reason IS 'Why.';

COMMENT ON COLUMN farebox_private.adjustments.old_revision IS 'The rate card or reader it was booked by.';

COMMENT ON COLUMN farebox_private.adjustments.new_revision IS 'The rate card or reader it is corrected to.';

COMMENT ON COLUMN farebox_private.adjustments.booked_at IS 'When it was booked.';

COMMENT ON COLUMN farebox_private.adjustments.started_at IS 'started_at of its event; its hour in the roll-ups.';

COMMENT ON COLUMN farebox_private.adjustments.day IS 'The day of its event in the roll-ups.';

COMMENT ON COLUMN farebox_private.adjustments.period IS 'The month open when it was booked, by its first day.';

COMMENT ON COLUMN farebox_private.adjustments.tenant_id IS 'The tenant it is booked to; null: unattributed.';

COMMENT ON COLUMN farebox_private.adjustments.customer_id IS 'The customer it is booked to.';

COMMENT ON COLUMN farebox_private.adjustments.project IS 'The project it is booked to.';

COMMENT ON COLUMN farebox_private.adjustments.key_id IS 'The virtual key.';

COMMENT ON COLUMN farebox_private.adjustments.environment IS 'live or test.';

COMMENT ON COLUMN farebox_private.adjustments.paid_by IS 'Who the provider bills.';

COMMENT ON COLUMN farebox_private.adjustments.provider IS 'The vendor.';

COMMENT ON COLUMN farebox_private.adjustments.endpoint IS 'The kind of call.';

COMMENT ON COLUMN farebox_private.adjustments.model IS 'The model.';

COMMENT ON COLUMN farebox_private.adjustments.pricing IS 'Pricing of the row it moves in the roll-ups.';

COMMENT ON COLUMN farebox_private.adjustments.meter IS 'What is corrected.';

COMMENT ON COLUMN farebox_private.adjustments.quantity IS 'Signed change of the quantity.';

COMMENT ON COLUMN farebox_private.adjustments.cost_usd IS 'Signed change of the cost.';

COMMENT ON COLUMN farebox_private.adjustments.billed_usd IS 'Signed change of what is billed.';

COMMENT ON COLUMN farebox_private.adjustments.batch_id IS 'What was corrected together.';

COMMENT ON COLUMN farebox_private.adjustments.event_period IS 'The month its event was first booked in; an earlier one than period makes it a credit or debit line.';

COMMENT ON COLUMN farebox_private.adjustments.events IS 'Signed change of the count of events, on rows of the meter calls.';

COMMENT ON COLUMN farebox_private.adjustments.unpriced_events IS 'Signed change of the count of events without a price, on rows of the meter calls.';

COMMENT ON COLUMN farebox_private.adjustments.session_id IS 'Its event''s conversation, for a tenant that does not see the event.';

COMMENT ON COLUMN farebox_private.adjustments.run_id IS 'Its event''s run, for a tenant that does not see the event.';

CREATE TABLE farebox_private.customers (
    tenant_id text NOT NULL,
    customer_id text NOT NULL,
    name text,
    settings jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    reference text DEFAULT "left"(replace((gen_random_uuid())::text, '-'::text, ''::text), 24) NOT NULL,
    erased_at timestamp with time zone,
    CONSTRAINT customer_id_is_id CHECK (farebox_private.is_id(customer_id)),
    CONSTRAINT settings_is_object CHECK ((jsonb_typeof(settings) = 'object'::text))
);

ALTER TABLE ONLY farebox_private.customers FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.customers IS 'The tenants'' own end customers, made by hand or by their first event: the one place that holds their ids.';

COMMENT ON COLUMN farebox_private.customers.tenant_id IS 'The tenant.';

COMMENT ON COLUMN farebox_private.customers.customer_id IS 'The identifier used on the wire, unique in its tenant.';

COMMENT ON COLUMN farebox_private.customers.name IS 'A name for people.';

COMMENT ON COLUMN farebox_private.customers.settings IS 'Settings by name.';

COMMENT ON COLUMN farebox_private.customers.created_at IS 'When the customer was made.';

COMMENT ON COLUMN farebox_private.customers.reference IS 'What stands for the customer in events, sums and corrections; random, so nothing leads from it to the id.';

COMMENT ON COLUMN farebox_private.customers.erased_at IS 'When the id was erased; another stands in its place since.';

CREATE VIEW farebox.adjustments AS
 SELECT adjustments.adjustment_id,
    adjustments.event_id,
    adjustments.kind,
        CASE
            WHEN ( SELECT farebox_private.sees_all() AS sees_all) THEN adjustments.actor
            ELSE NULL::text
        END AS actor,
    adjustments.reason,
        CASE
            WHEN ( SELECT farebox_private.sees_all() AS sees_all) THEN adjustments.old_revision
            ELSE NULL::text
        END AS old_revision,
        CASE
            WHEN ( SELECT farebox_private.sees_all() AS sees_all) THEN adjustments.new_revision
            ELSE NULL::text
        END AS new_revision,
    adjustments.booked_at,
    adjustments.started_at,
    adjustments.day,
    adjustments.period,
    adjustments.tenant_id,
    COALESCE(customers.customer_id, adjustments.customer_id) AS customer_id,
    adjustments.project,
    adjustments.key_id,
    adjustments.environment,
    adjustments.paid_by,
    adjustments.provider,
    adjustments.endpoint,
    adjustments.model,
    adjustments.pricing,
    adjustments.meter,
    adjustments.quantity,
        CASE
            WHEN (( SELECT farebox_private.sees_all() AS sees_all) OR (adjustments.paid_by <> 'operator'::text)) THEN (adjustments.cost_usd)::numeric
            ELSE NULL::numeric
        END AS cost_usd,
    adjustments.billed_usd,
    adjustments.batch_id,
    adjustments.event_period,
    adjustments.events,
    adjustments.unpriced_events
   FROM (farebox_private.adjustments
     LEFT JOIN farebox_private.customers ON (((customers.tenant_id = adjustments.tenant_id) AND (customers.reference = adjustments.customer_id))));

COMMENT ON VIEW farebox.adjustments IS 'Corrections of booked events.';

COMMENT ON COLUMN farebox.adjustments.adjustment_id IS 'Identifier of the adjustment.';

COMMENT ON COLUMN farebox.adjustments.event_id IS 'The event it corrects.';

COMMENT ON COLUMN farebox.adjustments.kind IS 'reprice, retag, reread or manual.';

COMMENT ON COLUMN farebox.adjustments.actor IS 'Who booked it. Null for tenants.';

COMMENT ON COLUMN farebox.adjustments.reason IS 'Why.';

COMMENT ON COLUMN farebox.adjustments.old_revision IS 'The rate card or reader it was booked by. Null for tenants.';

COMMENT ON COLUMN farebox.adjustments.new_revision IS 'The rate card or reader it is corrected to. Null for tenants.';

COMMENT ON COLUMN farebox.adjustments.booked_at IS 'When it was booked.';

COMMENT ON COLUMN farebox.adjustments.started_at IS 'started_at of its event; its hour in the roll-ups.';

COMMENT ON COLUMN farebox.adjustments.day IS 'The day of its event in the roll-ups.';

COMMENT ON COLUMN farebox.adjustments.period IS 'The month open when it was booked, by its first day.';

COMMENT ON COLUMN farebox.adjustments.tenant_id IS 'The tenant it is booked to; null: unattributed.';

COMMENT ON COLUMN farebox.adjustments.customer_id IS 'The customer it is booked to.';

COMMENT ON COLUMN farebox.adjustments.project IS 'The project it is booked to.';

COMMENT ON COLUMN farebox.adjustments.key_id IS 'The virtual key.';

COMMENT ON COLUMN farebox.adjustments.environment IS 'live or test.';

COMMENT ON COLUMN farebox.adjustments.paid_by IS 'Who the provider bills.';

COMMENT ON COLUMN farebox.adjustments.provider IS 'The vendor.';

COMMENT ON COLUMN farebox.adjustments.endpoint IS 'The kind of call.';

COMMENT ON COLUMN farebox.adjustments.model IS 'The model.';

COMMENT ON COLUMN farebox.adjustments.pricing IS 'Pricing of the row it moves in the roll-ups.';

COMMENT ON COLUMN farebox.adjustments.meter IS 'What is corrected.';

COMMENT ON COLUMN farebox.adjustments.quantity IS 'Signed change of the quantity.';

COMMENT ON COLUMN farebox.adjustments.cost_usd IS 'Signed change of the cost. Null for tenants where the operator pays.';

COMMENT ON COLUMN farebox.adjustments.billed_usd IS 'Signed change of what is billed.';

COMMENT ON COLUMN farebox.adjustments.batch_id IS 'What was corrected together.';

COMMENT ON COLUMN farebox.adjustments.event_period IS 'The month its event was first booked in; an earlier one than period makes it a credit or debit line.';

COMMENT ON COLUMN farebox.adjustments.events IS 'Signed change of the count of events, on rows of the meter calls.';

COMMENT ON COLUMN farebox.adjustments.unpriced_events IS 'Signed change of the count of events without a price, on rows of the meter calls.';

CREATE TABLE farebox_private.invoice_lines (
    invoice_id uuid NOT NULL,
    line integer NOT NULL,
    tenant_id text NOT NULL,
    kind text NOT NULL,
    provider text,
    model text,
    meter text,
    quantity numeric,
    billed_usd farebox_private.usd NOT NULL,
    text text,
    corrects date,
    CONSTRAINT corrections_name_their_month CHECK (((kind = ANY (ARRAY['credit'::text, 'debit'::text])) = (corrects IS NOT NULL))),
    CONSTRAINT kind_is_known CHECK ((kind = ANY (ARRAY['usage'::text, 'allowance'::text, 'credit'::text, 'debit'::text])))
);

ALTER TABLE ONLY farebox_private.invoice_lines FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.invoice_lines IS 'Lines of closed invoices.';

COMMENT ON COLUMN farebox_private.invoice_lines.invoice_id IS 'The invoice.';

COMMENT ON COLUMN farebox_private.invoice_lines.line IS 'Number of the line, from 1.';

COMMENT ON COLUMN farebox_private.invoice_lines.tenant_id IS 'The invoice''s tenant.';

COMMENT ON COLUMN farebox_private.invoice_lines.kind IS 'usage, allowance (included in the plan), or a credit or debit for an earlier month.';

COMMENT ON COLUMN farebox_private.invoice_lines.provider IS 'The vendor.';

COMMENT ON COLUMN farebox_private.invoice_lines.model IS 'The model.';

COMMENT ON COLUMN farebox_private.invoice_lines.meter IS 'What is counted.';

COMMENT ON COLUMN farebox_private.invoice_lines.quantity IS 'How much of it.';

COMMENT ON COLUMN farebox_private.invoice_lines.billed_usd IS 'The amount.';

COMMENT ON COLUMN farebox_private.invoice_lines.text IS 'What a person reads.';

COMMENT ON COLUMN farebox_private.invoice_lines.corrects IS 'The earlier month that a credit or debit is for.';

CREATE VIEW farebox.invoice_lines AS
 SELECT invoice_lines.invoice_id,
    invoice_lines.line,
    invoice_lines.tenant_id,
    invoice_lines.kind,
    invoice_lines.provider,
    invoice_lines.model,
    invoice_lines.meter,
    invoice_lines.quantity,
    invoice_lines.billed_usd,
    invoice_lines.text,
    invoice_lines.corrects
   FROM farebox_private.invoice_lines;

COMMENT ON VIEW farebox.invoice_lines IS 'Lines of closed invoices.';

COMMENT ON COLUMN farebox.invoice_lines.invoice_id IS 'The invoice.';

COMMENT ON COLUMN farebox.invoice_lines.line IS 'Number of the line, from 1.';

COMMENT ON COLUMN farebox.invoice_lines.tenant_id IS 'The invoice''s tenant.';

COMMENT ON COLUMN farebox.invoice_lines.kind IS 'usage, allowance (included in the plan), or a credit or debit for an earlier month.';

COMMENT ON COLUMN farebox.invoice_lines.provider IS 'The vendor.';

COMMENT ON COLUMN farebox.invoice_lines.model IS 'The model.';

COMMENT ON COLUMN farebox.invoice_lines.meter IS 'What is counted.';

COMMENT ON COLUMN farebox.invoice_lines.quantity IS 'How much of it.';

COMMENT ON COLUMN farebox.invoice_lines.billed_usd IS 'The amount.';

COMMENT ON COLUMN farebox.invoice_lines.text IS 'What a person reads.';

COMMENT ON COLUMN farebox.invoice_lines.corrects IS 'The earlier month that a credit or debit is for.';

CREATE TABLE farebox_private.invoices (
    invoice_id uuid NOT NULL,
    number text NOT NULL,
    tenant_id text NOT NULL,
    period date NOT NULL,
    billed_usd farebox_private.usd NOT NULL,
    lines_sha256 text NOT NULL,
    events_sha256 text NOT NULL,
    closed_at timestamp with time zone NOT NULL,
    closed_by text NOT NULL,
    currency text DEFAULT 'USD'::text NOT NULL,
    from_at timestamp with time zone NOT NULL,
    to_at timestamp with time zone NOT NULL,
    events bigint NOT NULL,
    unknown_events bigint NOT NULL,
    despite text[] DEFAULT '{}'::text[] NOT NULL,
    CONSTRAINT currency_is_usd CHECK ((currency = 'USD'::text)),
    CONSTRAINT period_is_month CHECK ((EXTRACT(day FROM period) = (1)::numeric))
);

ALTER TABLE ONLY farebox_private.invoices FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.invoices IS 'Closed invoices; they never change.';

COMMENT ON COLUMN farebox_private.invoices.invoice_id IS 'Identifier of the invoice.';

COMMENT ON COLUMN farebox_private.invoices.number IS 'The number on the invoice.';

COMMENT ON COLUMN farebox_private.invoices.tenant_id IS 'The tenant.';

COMMENT ON COLUMN farebox_private.invoices.period IS 'The month''s first day.';

COMMENT ON COLUMN farebox_private.invoices.billed_usd IS 'Sum of the lines.';

COMMENT ON COLUMN farebox_private.invoices.lines_sha256 IS 'SHA-256 over the lines.';

COMMENT ON COLUMN farebox_private.invoices.events_sha256 IS 'SHA-256 over the list of (event_id, amounts).';

COMMENT ON COLUMN farebox_private.invoices.closed_at IS 'When the month was closed.';

COMMENT ON COLUMN farebox_private.invoices.closed_by IS 'Who closed it.';

COMMENT ON COLUMN farebox_private.invoices.currency IS 'USD.';

COMMENT ON COLUMN farebox_private.invoices.from_at IS 'The month''s begin in the tenant''s zone.';

COMMENT ON COLUMN farebox_private.invoices.to_at IS 'Its end, exclusive.';

COMMENT ON COLUMN farebox_private.invoices.events IS 'Events and adjustments in the list that was hashed.';

COMMENT ON COLUMN farebox_private.invoices.unknown_events IS 'Events of which no usage was known at the close; they are on no line.';

COMMENT ON COLUMN farebox_private.invoices.despite IS 'Nodes that had not shipped past its end.';

CREATE VIEW farebox.invoices AS
 SELECT invoices.invoice_id,
    invoices.number,
    invoices.tenant_id,
    invoices.period,
    invoices.billed_usd,
    invoices.lines_sha256,
    invoices.events_sha256,
    invoices.closed_at,
        CASE
            WHEN ( SELECT farebox_private.sees_all() AS sees_all) THEN invoices.closed_by
            ELSE NULL::text
        END AS closed_by,
    invoices.currency,
    invoices.from_at,
    invoices.to_at,
    invoices.events,
    invoices.unknown_events,
        CASE
            WHEN ( SELECT farebox_private.sees_all() AS sees_all) THEN invoices.despite
            ELSE NULL::text[]
        END AS despite
   FROM farebox_private.invoices;

COMMENT ON VIEW farebox.invoices IS 'Closed invoices.';

COMMENT ON COLUMN farebox.invoices.invoice_id IS 'Identifier of the invoice.';

COMMENT ON COLUMN farebox.invoices.number IS 'The number on the invoice.';

COMMENT ON COLUMN farebox.invoices.tenant_id IS 'The tenant.';

COMMENT ON COLUMN farebox.invoices.period IS 'The month''s first day.';

COMMENT ON COLUMN farebox.invoices.billed_usd IS 'Sum of the lines.';

COMMENT ON COLUMN farebox.invoices.lines_sha256 IS 'SHA-256 over the lines.';

COMMENT ON COLUMN farebox.invoices.events_sha256 IS 'SHA-256 over a line `id billed_usd` for each event and adjustment of the month, in the order of their ids.';

COMMENT ON COLUMN farebox.invoices.closed_at IS 'When the month was closed.';

COMMENT ON COLUMN farebox.invoices.closed_by IS 'Who closed it. Null for tenants.';

COMMENT ON COLUMN farebox.invoices.currency IS 'USD.';

COMMENT ON COLUMN farebox.invoices.from_at IS 'The month''s begin in the tenant''s zone.';

COMMENT ON COLUMN farebox.invoices.to_at IS 'Its end, exclusive.';

COMMENT ON COLUMN farebox.invoices.events IS 'Events and adjustments in the list that was hashed.';

COMMENT ON COLUMN farebox.invoices.unknown_events IS 'Events of which no usage was known at the close; they are on no line.';

COMMENT ON COLUMN farebox.invoices.despite IS 'Nodes that had not shipped past its end. Null for tenants.';

CREATE TABLE farebox_private.limit_events (
    limit_event_id uuid NOT NULL,
    limit_id uuid NOT NULL,
    tenant_id text,
    at timestamp with time zone NOT NULL,
    kind text NOT NULL,
    meter text NOT NULL,
    used numeric,
    amount numeric,
    node text,
    scope text DEFAULT '[]'::text NOT NULL,
    window_start timestamp with time zone,
    sent_at timestamp with time zone,
    expires_at timestamp with time zone,
    CONSTRAINT kind_is_known CHECK ((kind = ANY (ARRAY['warning'::text, 'refusal'::text, 'cut'::text, 'dry_run'::text, 'reset'::text])))
);

ALTER TABLE ONLY farebox_private.limit_events FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.limit_events IS 'When limits warned, refused or cut.';

COMMENT ON COLUMN farebox_private.limit_events.limit_event_id IS 'Identifier.';

COMMENT ON COLUMN farebox_private.limit_events.limit_id IS 'The limit.';

COMMENT ON COLUMN farebox_private.limit_events.tenant_id IS 'The tenant that met it.';

COMMENT ON COLUMN farebox_private.limit_events.at IS 'When.';

COMMENT ON COLUMN farebox_private.limit_events.kind IS 'warning, refusal, cut, dry_run or reset.';

COMMENT ON COLUMN farebox_private.limit_events.meter IS 'What was counted.';

COMMENT ON COLUMN farebox_private.limit_events.used IS 'How much was used.';

COMMENT ON COLUMN farebox_private.limit_events.amount IS 'How much is allowed.';

COMMENT ON COLUMN farebox_private.limit_events.node IS 'The proxy.';

COMMENT ON COLUMN farebox_private.limit_events.scope IS 'The counter''s values.';

COMMENT ON COLUMN farebox_private.limit_events.window_start IS 'The window it happened in.';

COMMENT ON COLUMN farebox_private.limit_events.sent_at IS 'When the proxy''s report of it came in.';

COMMENT ON COLUMN farebox_private.limit_events.expires_at IS 'When the window ends, and with it what the event says.';

CREATE TABLE farebox_private.limits (
    limit_id uuid NOT NULL,
    tenant_id text,
    customer_id text,
    key_id uuid,
    upstream text,
    model text,
    meter text NOT NULL,
    amount numeric NOT NULL,
    window_kind text NOT NULL,
    action text DEFAULT 'refuse'::text NOT NULL,
    dry_run boolean DEFAULT false NOT NULL,
    expires_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    created_by text,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    project text,
    agent text,
    provider text,
    per text[] DEFAULT '{}'::text[] NOT NULL,
    basis text DEFAULT 'billed'::text NOT NULL,
    fail text DEFAULT 'closed'::text NOT NULL,
    CONSTRAINT action_is_known CHECK ((action = ANY (ARRAY['refuse'::text, 'warn'::text]))),
    CONSTRAINT amount_not_negative CHECK ((amount >= (0)::numeric)),
    CONSTRAINT basis_is_known CHECK ((basis = ANY (ARRAY['billed'::text, 'cost'::text]))),
    CONSTRAINT concurrency_has_no_window CHECK (((meter = 'concurrency'::text) = (window_kind = 'concurrent'::text))),
    CONSTRAINT fail_is_known CHECK ((fail = ANY (ARRAY['closed'::text, 'open'::text]))),
    CONSTRAINT per_is_known CHECK ((per <@ ARRAY['tenant'::text, 'customer'::text, 'project'::text, 'agent'::text, 'key'::text, 'provider'::text, 'upstream'::text, 'model'::text])),
    CONSTRAINT window_is_known CHECK ((window_kind = ANY (ARRAY['second'::text, 'minute'::text, 'hour'::text, 'day'::text, 'week'::text, 'month'::text, 'concurrent'::text])))
);

ALTER TABLE ONLY farebox_private.limits FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.limits IS 'Rates, quantities and budgets.';

COMMENT ON COLUMN farebox_private.limits.limit_id IS 'Identifier of the limit.';

COMMENT ON COLUMN farebox_private.limits.tenant_id IS 'The tenant it binds; null: everybody.';

COMMENT ON COLUMN farebox_private.limits.customer_id IS 'The customer it binds; null: all.';

COMMENT ON COLUMN farebox_private.limits.key_id IS 'The virtual key it binds; null: all.';

COMMENT ON COLUMN farebox_private.limits.upstream IS 'The upstream it binds; null: all.';

COMMENT ON COLUMN farebox_private.limits.model IS 'The model it binds; null: all.';

COMMENT ON COLUMN farebox_private.limits.meter IS 'What is counted: requests, concurrency, tokens, a meter, or usd.';

COMMENT ON COLUMN farebox_private.limits.amount IS 'How much a window allows.';

COMMENT ON COLUMN farebox_private.limits.window_kind IS 'The window the amount is for.';

COMMENT ON COLUMN farebox_private.limits.action IS 'What happens past it: refuse or warn.';

COMMENT ON COLUMN farebox_private.limits.dry_run IS 'Counted and reported, never enforced.';

COMMENT ON COLUMN farebox_private.limits.expires_at IS 'When it stops to hold; null: never.';

COMMENT ON COLUMN farebox_private.limits.created_at IS 'When it was made.';

COMMENT ON COLUMN farebox_private.limits.created_by IS 'Who made it.';

COMMENT ON COLUMN farebox_private.limits.updated_at IS 'When it was last changed.';

COMMENT ON COLUMN farebox_private.limits.project IS 'The project it binds; null: all.';

COMMENT ON COLUMN farebox_private.limits.agent IS 'The agent it binds; null: all.';

COMMENT ON COLUMN farebox_private.limits.provider IS 'The vendor it binds; null: all.';

COMMENT ON COLUMN farebox_private.limits.per IS 'Dimensions each value of which has the amount for itself.';

COMMENT ON COLUMN farebox_private.limits.basis IS 'For usd: billed (what the tenant owes) or cost (what the provider charges the operator).';

COMMENT ON COLUMN farebox_private.limits.fail IS 'What holds while it cannot be checked: closed (refused) or open (passes).';

CREATE VIEW farebox.limit_events AS
 SELECT limit_events.limit_event_id,
    limit_events.limit_id,
    limit_events.tenant_id,
    limit_events.at,
    limit_events.kind,
    limit_events.meter,
    limit_events.used,
    limit_events.amount,
        CASE
            WHEN ( SELECT farebox_private.sees_all() AS sees_all) THEN limit_events.node
            ELSE NULL::text
        END AS node,
    limit_events.at AS triggered_at,
    limit_events.sent_at,
    limit_events.expires_at,
    limit_events.scope,
    limit_events.window_start
   FROM farebox_private.limit_events
  WHERE (( SELECT farebox_private.sees_all() AS sees_all) OR (EXISTS ( SELECT
           FROM farebox_private.limits
          WHERE ((limits.limit_id = limit_events.limit_id) AND (limits.basis <> 'cost'::text) AND (limits.tenant_id IS NOT NULL)))));

COMMENT ON VIEW farebox.limit_events IS 'When limits warned, refused or cut. Tenants see those of limits they see.';

COMMENT ON COLUMN farebox.limit_events.limit_event_id IS 'Identifier.';

COMMENT ON COLUMN farebox.limit_events.limit_id IS 'The limit.';

COMMENT ON COLUMN farebox.limit_events.tenant_id IS 'The tenant that met it.';

COMMENT ON COLUMN farebox.limit_events.at IS 'When.';

COMMENT ON COLUMN farebox.limit_events.kind IS 'warning, refusal, cut, dry_run or reset.';

COMMENT ON COLUMN farebox.limit_events.meter IS 'What was counted.';

COMMENT ON COLUMN farebox.limit_events.used IS 'How much was used.';

COMMENT ON COLUMN farebox.limit_events.amount IS 'How much is allowed.';

COMMENT ON COLUMN farebox.limit_events.node IS 'The proxy. Null for tenants.';

COMMENT ON COLUMN farebox.limit_events.triggered_at IS 'When, as the proxy saw it.';

COMMENT ON COLUMN farebox.limit_events.sent_at IS 'When the proxy''s report of it came in.';

COMMENT ON COLUMN farebox.limit_events.expires_at IS 'When the window ends, and with it what the event says.';

COMMENT ON COLUMN farebox.limit_events.scope IS 'The values of the limit''s per, as a JSON array in text.';

COMMENT ON COLUMN farebox.limit_events.window_start IS 'The window it happened in; null: none.';

CREATE VIEW farebox.limits AS
 SELECT limits.limit_id,
    limits.tenant_id,
    limits.customer_id,
    limits.key_id,
    limits.upstream,
    limits.model,
    limits.meter,
    limits.amount,
    limits.window_kind,
    limits.action,
    limits.dry_run,
    limits.expires_at,
    limits.created_at,
    limits.created_by,
    limits.updated_at,
    limits.project,
    limits.agent,
    limits.provider,
    limits.per,
    limits.basis,
    limits.fail
   FROM farebox_private.limits
  WHERE (( SELECT farebox_private.sees_all() AS sees_all) OR ((limits.basis <> 'cost'::text) AND (limits.tenant_id IS NOT NULL)));

COMMENT ON VIEW farebox.limits IS 'Limits. Tenants see their own, but none on cost and none wider than they are.';

COMMENT ON COLUMN farebox.limits.limit_id IS 'Identifier of the limit.';

COMMENT ON COLUMN farebox.limits.tenant_id IS 'The tenant it binds; null: everybody.';

COMMENT ON COLUMN farebox.limits.customer_id IS 'The customer it binds; null: all.';

COMMENT ON COLUMN farebox.limits.key_id IS 'The virtual key it binds; null: all.';

COMMENT ON COLUMN farebox.limits.upstream IS 'The upstream it binds; null: all.';

COMMENT ON COLUMN farebox.limits.model IS 'The model it binds; null: all.';

COMMENT ON COLUMN farebox.limits.meter IS 'What is counted: requests, concurrency, tokens, a meter, or usd.';

COMMENT ON COLUMN farebox.limits.amount IS 'How much a window allows.';

COMMENT ON COLUMN farebox.limits.window_kind IS 'The window the amount is for.';

COMMENT ON COLUMN farebox.limits.action IS 'What happens past it: refuse or warn.';

COMMENT ON COLUMN farebox.limits.dry_run IS 'Counted and reported, never enforced.';

COMMENT ON COLUMN farebox.limits.expires_at IS 'When it stops to hold; null: never.';

COMMENT ON COLUMN farebox.limits.created_at IS 'When it was made.';

COMMENT ON COLUMN farebox.limits.created_by IS 'Who made it.';

COMMENT ON COLUMN farebox.limits.updated_at IS 'When it was last changed.';

COMMENT ON COLUMN farebox.limits.project IS 'The project it binds; null: all.';

COMMENT ON COLUMN farebox.limits.agent IS 'The agent it binds; null: all.';

COMMENT ON COLUMN farebox.limits.provider IS 'The vendor it binds; null: all.';

COMMENT ON COLUMN farebox.limits.per IS 'Dimensions each value of which has the amount for itself.';

COMMENT ON COLUMN farebox.limits.basis IS 'For usd: billed (what the tenant owes) or cost (what the provider charges the operator).';

COMMENT ON COLUMN farebox.limits.fail IS 'What holds while it cannot be checked: closed (refused) or open (passes).';

CREATE TABLE farebox_private.event_links (
    event_id uuid NOT NULL,
    relation text NOT NULL,
    other_event_id uuid NOT NULL,
    tenant_id text,
    CONSTRAINT not_of_itself CHECK ((event_id <> other_event_id)),
    CONSTRAINT relation_is_known CHECK ((relation = ANY (ARRAY['settles'::text, 'repeats'::text])))
);

ALTER TABLE ONLY farebox_private.event_links FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.event_links IS 'How events of one answer of a provider stand to each other, whichever was booked first: what usage_events shows as settles and repeats.';

COMMENT ON COLUMN farebox_private.event_links.event_id IS 'The event that settles or repeats another.';

COMMENT ON COLUMN farebox_private.event_links.relation IS 'settles: it tells the usage that the other left pending. repeats: the other was charged for the same provider id.';

COMMENT ON COLUMN farebox_private.event_links.other_event_id IS 'The event that it settles or repeats.';

COMMENT ON COLUMN farebox_private.event_links.tenant_id IS 'The tenant of the event that settles or repeats.';

CREATE TABLE farebox_private.usage_events (
    event_id uuid NOT NULL,
    call_id uuid NOT NULL,
    part integer NOT NULL,
    is_final boolean NOT NULL,
    schema integer NOT NULL,
    tenant_id text,
    customer_id text,
    project text,
    agent text,
    revision text,
    session_id text,
    run_id text,
    span_id text,
    parent_span_id text,
    section text,
    metadata jsonb,
    synthetic boolean NOT NULL,
    environment text NOT NULL,
    attribution text NOT NULL,
    key_id uuid,
    credential_id text,
    paid_by text NOT NULL,
    upstream text NOT NULL,
    provider text NOT NULL,
    endpoint text NOT NULL,
    region text,
    model_requested text,
    model text,
    service_tier text,
    started_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    received_at timestamp with time zone DEFAULT now() NOT NULL,
    period date NOT NULL,
    day date NOT NULL,
    is_late boolean NOT NULL,
    clock_suspect boolean NOT NULL,
    ttfb_ms numeric,
    ttft_ms numeric,
    duration_ms numeric,
    overhead_ms numeric,
    status integer,
    ending text NOT NULL,
    streaming boolean NOT NULL,
    transport text NOT NULL,
    request_bytes bigint,
    response_bytes bigint,
    request_amended boolean NOT NULL,
    attempt integer NOT NULL,
    client_retry integer,
    sanitised boolean NOT NULL,
    lines text NOT NULL,
    usage text NOT NULL,
    usage_source text NOT NULL,
    usage_reason text,
    usage_low jsonb,
    usage_high jsonb,
    evidence text,
    charges text NOT NULL,
    cost_usd farebox_private.usd,
    billed_usd farebox_private.usd,
    claimed_usd farebox_private.usd,
    price_mismatch boolean NOT NULL,
    pricing text NOT NULL,
    cost_card bytea,
    price_card bytea,
    upstream_request_id text,
    response_id text,
    node text,
    epoch bigint,
    seq bigint,
    content_sha256 bytea,
    content_digest bytea NOT NULL,
    further jsonb,
    plan text,
    CONSTRAINT amounts_not_negative CHECK ((((cost_usd)::numeric >= (0)::numeric) AND ((billed_usd)::numeric >= (0)::numeric))),
    CONSTRAINT attempt_from_one CHECK ((attempt >= 1)),
    CONSTRAINT attribution_is_known CHECK ((attribution = ANY (ARRAY['key'::text, 'header'::text, 'path'::text, 'query'::text, 'session'::text, 'body'::text, 'none'::text]))),
    CONSTRAINT ending_is_known CHECK ((ending = ANY (ARRAY['complete'::text, 'refused_by_upstream'::text, 'upstream_failed'::text, 'downstream_gone'::text, 'timeout'::text, 'cut'::text, 'interrupted'::text, 'continues'::text]))),
    CONSTRAINT environment_is_known CHECK ((environment = ANY (ARRAY['live'::text, 'test'::text]))),
    CONSTRAINT paid_by_is_known CHECK ((paid_by = ANY (ARRAY['operator'::text, 'tenant'::text, 'caller'::text]))),
    CONSTRAINT part_from_one CHECK ((part >= 1)),
    CONSTRAINT period_is_month CHECK ((EXTRACT(day FROM period) = (1)::numeric)),
    CONSTRAINT pricing_is_known CHECK ((pricing = ANY (ARRAY['priced'::text, 'partial'::text, 'unpriced'::text, 'unknown'::text, 'free'::text, 'repeat'::text]))),
    CONSTRAINT repeat_costs_nothing CHECK (((pricing <> 'repeat'::text) OR (((cost_usd)::numeric = (0)::numeric) AND ((billed_usd)::numeric = (0)::numeric)))),
    CONSTRAINT transport_is_known CHECK ((transport = ANY (ARRAY['http'::text, 'sse'::text, 'websocket'::text]))),
    CONSTRAINT unknown_is_not_zero CHECK (((pricing <> 'unknown'::text) OR ((cost_usd IS NULL) AND (billed_usd IS NULL)))),
    CONSTRAINT usage_source_is_known CHECK ((usage_source = ANY (ARRAY['reported'::text, 'partial'::text, 'measured'::text, 'estimated'::text, 'pending'::text, 'missing'::text, 'none'::text])))
)
PARTITION BY RANGE (event_id);

ALTER TABLE ONLY farebox_private.usage_events FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.usage_events IS 'One row for each attempt of a call, or each part of a socket, as first booked; never changed.';

COMMENT ON COLUMN farebox_private.usage_events.event_id IS 'UUIDv7 made by the proxy; its millisecond is started_at.';

COMMENT ON COLUMN farebox_private.usage_events.call_id IS 'The event id of the call''s first attempt and part.';

COMMENT ON COLUMN farebox_private.usage_events.part IS 'Part of a socket, from 1.';

COMMENT ON COLUMN farebox_private.usage_events.is_final IS 'Whether this is the call''s last part.';

COMMENT ON COLUMN farebox_private.usage_events.schema IS 'Version of the record''s shape.';

COMMENT ON COLUMN farebox_private.usage_events.tenant_id IS 'The tenant; null: unattributed.';

COMMENT ON COLUMN farebox_private.usage_events.customer_id IS 'The tenant''s end customer.';

COMMENT ON COLUMN farebox_private.usage_events.project IS 'A project of the tenant.';

COMMENT ON COLUMN farebox_private.usage_events.agent IS 'An agent of the tenant.';

COMMENT ON COLUMN farebox_private.usage_events.revision IS 'The agent''s revision.';

COMMENT ON COLUMN farebox_private.usage_events.session_id IS 'A conversation.';

COMMENT ON COLUMN farebox_private.usage_events.run_id IS 'A run of an agent.';

COMMENT ON COLUMN farebox_private.usage_events.span_id IS 'A step of the run.';

COMMENT ON COLUMN farebox_private.usage_events.parent_span_id IS 'The step above it.';

COMMENT ON COLUMN farebox_private.usage_events.section IS 'A part of the product.';

COMMENT ON COLUMN farebox_private.usage_events.metadata IS 'The caller''s own flat labels.';

COMMENT ON COLUMN farebox_private.usage_events.synthetic IS 'Test traffic by the caller''s own word; billed as any call.';

COMMENT ON COLUMN farebox_private.usage_events.environment IS 'The key''s environment: live or test.';

COMMENT ON COLUMN farebox_private.usage_events.attribution IS 'Where the tenant came from: key, header, path, query, session, body, none.';

COMMENT ON COLUMN farebox_private.usage_events.key_id IS 'The virtual key.';

COMMENT ON COLUMN farebox_private.usage_events.credential_id IS 'The provider credential, by name.';

COMMENT ON COLUMN farebox_private.usage_events.paid_by IS 'Who the provider bills: operator, tenant, caller.';

COMMENT ON COLUMN farebox_private.usage_events.upstream IS 'The configured name.';

COMMENT ON COLUMN farebox_private.usage_events.provider IS 'The vendor.';

COMMENT ON COLUMN farebox_private.usage_events.endpoint IS 'The kind of call.';

COMMENT ON COLUMN farebox_private.usage_events.region IS 'The upstream''s region.';

COMMENT ON COLUMN farebox_private.usage_events.model_requested IS 'The model asked for.';

COMMENT ON COLUMN farebox_private.usage_events.model IS 'The model billed.';

COMMENT ON COLUMN farebox_private.usage_events.service_tier IS 'The tier billed.';

COMMENT ON COLUMN farebox_private.usage_events.started_at IS 'By the proxy''s clock; decides price and period.';

COMMENT ON COLUMN farebox_private.usage_events.ended_at IS 'Last byte of the answer; null on an interrupted call.';

COMMENT ON COLUMN farebox_private.usage_events.received_at IS 'When the collector booked it.';

COMMENT ON COLUMN farebox_private.usage_events.period IS 'Month it is invoiced in, by its first day.';

COMMENT ON COLUMN farebox_private.usage_events.day IS 'The day in the tenant''s zone at ingest.';

COMMENT ON COLUMN farebox_private.usage_events.is_late IS 'Its own month was closed when it came; it is in the first open one.';

COMMENT ON COLUMN farebox_private.usage_events.clock_suspect IS 'The proxy''s clock and the collector''s differed by more than five minutes.';

COMMENT ON COLUMN farebox_private.usage_events.ttfb_ms IS 'To the answer''s first byte, in milliseconds.';

COMMENT ON COLUMN farebox_private.usage_events.ttft_ms IS 'To the first generated output, in milliseconds.';

COMMENT ON COLUMN farebox_private.usage_events.duration_ms IS 'To the answer''s last byte, in milliseconds.';

COMMENT ON COLUMN farebox_private.usage_events.overhead_ms IS 'Time that is the proxy''s alone, in milliseconds.';

COMMENT ON COLUMN farebox_private.usage_events.status IS 'The upstream''s HTTP status.';

COMMENT ON COLUMN farebox_private.usage_events.ending IS 'How the answer ended.';

COMMENT ON COLUMN farebox_private.usage_events.streaming IS 'Whether the answer came as a stream.';

COMMENT ON COLUMN farebox_private.usage_events.transport IS 'http, sse or websocket.';

COMMENT ON COLUMN farebox_private.usage_events.request_bytes IS 'Bytes of the body sent upstream.';

COMMENT ON COLUMN farebox_private.usage_events.response_bytes IS 'Bytes of the body that came back.';

COMMENT ON COLUMN farebox_private.usage_events.request_amended IS 'Whether the usage option was spliced into the request.';

COMMENT ON COLUMN farebox_private.usage_events.attempt IS 'The proxy''s attempt, from 1.';

COMMENT ON COLUMN farebox_private.usage_events.client_retry IS 'The SDK''s own retry count.';

COMMENT ON COLUMN farebox_private.usage_events.sanitised IS 'Whether a text had to be made to fit.';

COMMENT ON COLUMN farebox_private.usage_events.lines IS 'What pricing reads: [{model, conditions, usage}]; JSON as text, which the view reads.';

COMMENT ON COLUMN farebox_private.usage_events.usage IS 'The lines'' sum, exact decimals as strings by meter; JSON as text, which the view reads.';

COMMENT ON COLUMN farebox_private.usage_events.usage_source IS 'How the quantities are known.';

COMMENT ON COLUMN farebox_private.usage_events.usage_reason IS 'Why they are not reported.';

COMMENT ON COLUMN farebox_private.usage_events.usage_low IS 'Lower bounds by meter when not reported.';

COMMENT ON COLUMN farebox_private.usage_events.usage_high IS 'Upper bounds by meter when not reported.';

COMMENT ON COLUMN farebox_private.usage_events.evidence IS 'What was seen on the wire; numbers and names, never content. JSON as text, which the view reads.';

COMMENT ON COLUMN farebox_private.usage_events.charges IS 'Each meter priced: [[model, meter, quantity, cost_rate, price_rate, cost_usd, billed_usd, cost_rule, price_rule]], a rate as [usd, per], and behind them the billed quantity where the selling rule has steps of its own; JSON as text, which charges_of reads.';

COMMENT ON COLUMN farebox_private.usage_events.cost_usd IS 'What the provider charges, whoever pays; null: a rate is missing.';

COMMENT ON COLUMN farebox_private.usage_events.billed_usd IS 'What the operator charges the tenant; null: unpriced.';

COMMENT ON COLUMN farebox_private.usage_events.claimed_usd IS 'The proxy''s own figure of billed_usd.';

COMMENT ON COLUMN farebox_private.usage_events.price_mismatch IS 'Whether the proxy''s figure differs from the booked one.';

COMMENT ON COLUMN farebox_private.usage_events.pricing IS 'priced, partial, unpriced, unknown, free or repeat; speaks of billed_usd.';

COMMENT ON COLUMN farebox_private.usage_events.cost_card IS 'SHA-256 of the provider''s card it was priced by.';

COMMENT ON COLUMN farebox_private.usage_events.price_card IS 'SHA-256 of the selling rules it was priced by.';

COMMENT ON COLUMN farebox_private.usage_events.upstream_request_id IS 'The provider''s request id.';

COMMENT ON COLUMN farebox_private.usage_events.response_id IS 'The id in the answer''s body.';

COMMENT ON COLUMN farebox_private.usage_events.node IS 'The proxy.';

COMMENT ON COLUMN farebox_private.usage_events.epoch IS 'The proxy''s process start.';

COMMENT ON COLUMN farebox_private.usage_events.seq IS 'The settlement''s number in the epoch, without gaps.';

COMMENT ON COLUMN farebox_private.usage_events.content_sha256 IS 'SHA-256 over the record as spooled, by the proxy.';

COMMENT ON COLUMN farebox_private.usage_events.content_digest IS 'SHA-256 over what the collector compares for conflict.';

COMMENT ON COLUMN farebox_private.usage_events.further IS 'Fields of a newer proxy that this version does not know, as they came.';

COMMENT ON COLUMN farebox_private.usage_events.plan IS 'The tenant''s plan when the call began; selling rules go by it.';

CREATE VIEW farebox.usage_events AS
 SELECT events.event_id,
    events.call_id,
    events.part,
    events.is_final,
    settled.other_event_id AS settles,
    events.schema,
    events.tenant_id,
    COALESCE(customers.customer_id, events.customer_id) AS customer_id,
    events.project,
    events.agent,
    events.revision,
    events.session_id,
    events.run_id,
    events.span_id,
    events.parent_span_id,
    events.section,
    events.metadata,
    events.synthetic,
    events.environment,
    events.attribution,
    events.key_id,
        CASE
            WHEN (( SELECT farebox_private.sees_all() AS sees_all) OR (events.paid_by <> 'operator'::text)) THEN events.credential_id
            ELSE NULL::text
        END AS credential_id,
    events.paid_by,
    events.upstream,
    events.provider,
    events.endpoint,
    events.region,
    events.model_requested,
    events.model,
    events.service_tier,
    events.started_at,
    events.ended_at,
    events.received_at,
    events.period,
    events.day,
    events.is_late,
    events.clock_suspect,
    events.ttfb_ms,
    events.ttft_ms,
    events.duration_ms,
        CASE
            WHEN ( SELECT farebox_private.sees_all() AS sees_all) THEN events.overhead_ms
            ELSE NULL::numeric
        END AS overhead_ms,
    events.status,
    events.ending,
    events.streaming,
    events.transport,
    events.request_bytes,
    events.response_bytes,
    events.request_amended,
    events.attempt,
    events.client_retry,
    events.sanitised,
    (events.lines)::jsonb AS lines,
    (events.usage)::jsonb AS usage,
    events.usage_source,
    events.usage_reason,
    events.usage_low,
    events.usage_high,
        CASE
            WHEN (( SELECT farebox_private.sees_all() AS sees_all) OR (events.paid_by <> 'operator'::text)) THEN (events.evidence)::jsonb
            ELSE NULL::jsonb
        END AS evidence,
    farebox_private.charges_of(events.charges, (( SELECT farebox_private.sees_all() AS sees_all) OR (events.paid_by <> 'operator'::text))) AS charges,
        CASE
            WHEN (( SELECT farebox_private.sees_all() AS sees_all) OR (events.paid_by <> 'operator'::text)) THEN (events.cost_usd)::numeric
            ELSE NULL::numeric
        END AS cost_usd,
    events.billed_usd,
        CASE
            WHEN ( SELECT farebox_private.sees_all() AS sees_all) THEN (events.claimed_usd)::numeric
            ELSE NULL::numeric
        END AS claimed_usd,
        CASE
            WHEN ( SELECT farebox_private.sees_all() AS sees_all) THEN events.price_mismatch
            ELSE NULL::boolean
        END AS price_mismatch,
    events.pricing,
        CASE
            WHEN (( SELECT farebox_private.sees_all() AS sees_all) OR (events.paid_by <> 'operator'::text)) THEN jsonb_build_object('cost', encode(events.cost_card, 'hex'::text), 'price', encode(events.price_card, 'hex'::text))
            ELSE NULL::jsonb
        END AS rate_cards,
    repeated.other_event_id AS repeats,
    events.upstream_request_id,
    events.response_id,
        CASE
            WHEN ( SELECT farebox_private.sees_all() AS sees_all) THEN events.node
            ELSE NULL::text
        END AS node,
        CASE
            WHEN ( SELECT farebox_private.sees_all() AS sees_all) THEN events.epoch
            ELSE NULL::bigint
        END AS epoch,
        CASE
            WHEN ( SELECT farebox_private.sees_all() AS sees_all) THEN events.seq
            ELSE NULL::bigint
        END AS seq,
        CASE
            WHEN ( SELECT farebox_private.sees_all() AS sees_all) THEN encode(events.content_sha256, 'hex'::text)
            ELSE NULL::text
        END AS content_sha256,
        CASE
            WHEN (( SELECT farebox_private.sees_all() AS sees_all) OR (events.paid_by <> 'operator'::text)) THEN ( SELECT
                    CASE
                        WHEN (count(*) = 0) THEN (events.cost_usd)::numeric
                        ELSE (COALESCE((events.cost_usd)::numeric, (0)::numeric) + sum((adjustments.cost_usd)::numeric))
                    END AS "case"
               FROM farebox_private.adjustments
              WHERE ((adjustments.event_id = events.event_id) AND (NOT (adjustments.tenant_id IS DISTINCT FROM events.tenant_id))))
            ELSE NULL::numeric
        END AS adjusted_cost_usd,
    ( SELECT
                CASE
                    WHEN (count(*) = 0) THEN (events.billed_usd)::numeric
                    ELSE (COALESCE((events.billed_usd)::numeric, (0)::numeric) + sum((adjustments.billed_usd)::numeric))
                END AS "case"
           FROM farebox_private.adjustments
          WHERE ((adjustments.event_id = events.event_id) AND (NOT (adjustments.tenant_id IS DISTINCT FROM events.tenant_id)))) AS adjusted_billed_usd,
    events.plan
   FROM (((farebox_private.usage_events events
     LEFT JOIN farebox_private.customers ON (((customers.tenant_id = events.tenant_id) AND (customers.reference = events.customer_id))))
     LEFT JOIN farebox_private.event_links settled ON (((settled.event_id = events.event_id) AND (settled.relation = 'settles'::text))))
     LEFT JOIN farebox_private.event_links repeated ON (((repeated.event_id = events.event_id) AND (repeated.relation = 'repeats'::text))));

COMMENT ON VIEW farebox.usage_events IS 'One row for each attempt of a call, or each part of a socket, as first booked.';

COMMENT ON COLUMN farebox.usage_events.event_id IS 'UUIDv7 made by the proxy; its millisecond is started_at.';

COMMENT ON COLUMN farebox.usage_events.call_id IS 'The event id of the call''s first attempt and part.';

COMMENT ON COLUMN farebox.usage_events.part IS 'Part of a socket, from 1.';

COMMENT ON COLUMN farebox.usage_events.is_final IS 'Whether this is the call''s last part.';

COMMENT ON COLUMN farebox.usage_events.settles IS 'The earlier, pending event whose usage this one tells.';

COMMENT ON COLUMN farebox.usage_events.schema IS 'Version of the record''s shape.';

COMMENT ON COLUMN farebox.usage_events.tenant_id IS 'The tenant; null: unattributed.';

COMMENT ON COLUMN farebox.usage_events.customer_id IS 'The tenant''s end customer.';

COMMENT ON COLUMN farebox.usage_events.project IS 'A project of the tenant.';

COMMENT ON COLUMN farebox.usage_events.agent IS 'An agent of the tenant.';

COMMENT ON COLUMN farebox.usage_events.revision IS 'The agent''s revision.';

COMMENT ON COLUMN farebox.usage_events.session_id IS 'A conversation.';

COMMENT ON COLUMN farebox.usage_events.run_id IS 'A run of an agent.';

COMMENT ON COLUMN farebox.usage_events.span_id IS 'A step of the run.';

COMMENT ON COLUMN farebox.usage_events.parent_span_id IS 'The step above it.';

COMMENT ON COLUMN farebox.usage_events.section IS 'A part of the product.';

COMMENT ON COLUMN farebox.usage_events.metadata IS 'The caller''s own flat labels.';

COMMENT ON COLUMN farebox.usage_events.synthetic IS 'Test traffic by the caller''s own word; billed as any call.';

COMMENT ON COLUMN farebox.usage_events.environment IS 'The key''s environment: live or test.';

COMMENT ON COLUMN farebox.usage_events.attribution IS 'Where the tenant came from: key, header, path, query, session, body, none.';

COMMENT ON COLUMN farebox.usage_events.key_id IS 'The virtual key.';

COMMENT ON COLUMN farebox.usage_events.credential_id IS 'The provider credential, by name. Tenants see it where the operator does not pay.';

COMMENT ON COLUMN farebox.usage_events.paid_by IS 'Who the provider bills: operator, tenant, caller.';

COMMENT ON COLUMN farebox.usage_events.upstream IS 'The configured name.';

COMMENT ON COLUMN farebox.usage_events.provider IS 'The vendor.';

COMMENT ON COLUMN farebox.usage_events.endpoint IS 'The kind of call.';

COMMENT ON COLUMN farebox.usage_events.region IS 'The upstream''s region.';

COMMENT ON COLUMN farebox.usage_events.model_requested IS 'The model asked for.';

COMMENT ON COLUMN farebox.usage_events.model IS 'The model billed.';

COMMENT ON COLUMN farebox.usage_events.service_tier IS 'The tier billed.';

COMMENT ON COLUMN farebox.usage_events.started_at IS 'By the proxy''s clock; decides price and period.';

COMMENT ON COLUMN farebox.usage_events.ended_at IS 'Last byte of the answer; null on an interrupted call.';

COMMENT ON COLUMN farebox.usage_events.received_at IS 'When the collector booked it.';

COMMENT ON COLUMN farebox.usage_events.period IS 'Month it is invoiced in, by its first day.';

COMMENT ON COLUMN farebox.usage_events.day IS 'The day in the tenant''s zone at ingest.';

COMMENT ON COLUMN farebox.usage_events.is_late IS 'Its own month was closed when it came; it is in the first open one.';

COMMENT ON COLUMN farebox.usage_events.clock_suspect IS 'The proxy''s clock and the collector''s differed by more than five minutes.';

COMMENT ON COLUMN farebox.usage_events.ttfb_ms IS 'To the answer''s first byte, in milliseconds.';

COMMENT ON COLUMN farebox.usage_events.ttft_ms IS 'To the first generated output, in milliseconds.';

COMMENT ON COLUMN farebox.usage_events.duration_ms IS 'To the answer''s last byte, in milliseconds.';

COMMENT ON COLUMN farebox.usage_events.overhead_ms IS 'Time that is the proxy''s alone, in milliseconds. Null for tenants.';

COMMENT ON COLUMN farebox.usage_events.status IS 'The upstream''s HTTP status.';

COMMENT ON COLUMN farebox.usage_events.ending IS 'How the answer ended.';

COMMENT ON COLUMN farebox.usage_events.streaming IS 'Whether the answer came as a stream.';

COMMENT ON COLUMN farebox.usage_events.transport IS 'http, sse or websocket.';

COMMENT ON COLUMN farebox.usage_events.request_bytes IS 'Bytes of the body sent upstream.';

COMMENT ON COLUMN farebox.usage_events.response_bytes IS 'Bytes of the body that came back.';

COMMENT ON COLUMN farebox.usage_events.request_amended IS 'Whether the usage option was spliced into the request.';

COMMENT ON COLUMN farebox.usage_events.attempt IS 'The proxy''s attempt, from 1.';

COMMENT ON COLUMN farebox.usage_events.client_retry IS 'The SDK''s own retry count.';

COMMENT ON COLUMN farebox.usage_events.sanitised IS 'Whether a text had to be made to fit.';

COMMENT ON COLUMN farebox.usage_events.lines IS 'What pricing reads: [{model, conditions, usage}].';

COMMENT ON COLUMN farebox.usage_events.usage IS 'The lines'' sum, exact decimals as strings by meter.';

COMMENT ON COLUMN farebox.usage_events.usage_source IS 'How the quantities are known.';

COMMENT ON COLUMN farebox.usage_events.usage_reason IS 'Why they are not reported.';

COMMENT ON COLUMN farebox.usage_events.usage_low IS 'Lower bounds by meter when not reported.';

COMMENT ON COLUMN farebox.usage_events.usage_high IS 'Upper bounds by meter when not reported.';

COMMENT ON COLUMN farebox.usage_events.evidence IS 'What was seen on the wire; numbers and names, never content. Null for tenants where the operator pays.';

COMMENT ON COLUMN farebox.usage_events.charges IS 'Each meter priced: [{model, meter, quantity, cost_rate, price_rate, cost_usd, billed_usd, cost_rule, price_rule}], and billed_quantity where the selling rule has steps of its own. The cost half is null for tenants where the operator pays.';

COMMENT ON COLUMN farebox.usage_events.cost_usd IS 'What the provider charges, whoever pays; null: a rate is missing. Tenants see it where the operator does not pay.';

COMMENT ON COLUMN farebox.usage_events.billed_usd IS 'What the operator charges the tenant; null: unpriced.';

COMMENT ON COLUMN farebox.usage_events.claimed_usd IS 'The proxy''s own figure of billed_usd. Null for tenants.';

COMMENT ON COLUMN farebox.usage_events.price_mismatch IS 'Whether the proxy''s figure differs from the booked one. Null for tenants.';

COMMENT ON COLUMN farebox.usage_events.pricing IS 'priced, partial, unpriced, unknown, free or repeat; speaks of billed_usd.';

COMMENT ON COLUMN farebox.usage_events.rate_cards IS 'Revisions it was priced by: {cost, price}. Null for tenants where the operator pays.';

COMMENT ON COLUMN farebox.usage_events.repeats IS 'The event already charged for the same provider id.';

COMMENT ON COLUMN farebox.usage_events.upstream_request_id IS 'The provider''s request id.';

COMMENT ON COLUMN farebox.usage_events.response_id IS 'The id in the answer''s body.';

COMMENT ON COLUMN farebox.usage_events.node IS 'The proxy. Null for tenants.';

COMMENT ON COLUMN farebox.usage_events.epoch IS 'The proxy''s process start. Null for tenants.';

COMMENT ON COLUMN farebox.usage_events.seq IS 'The settlement''s number in the epoch, without gaps. Null for tenants.';

COMMENT ON COLUMN farebox.usage_events.content_sha256 IS 'SHA-256 over the record as spooled, by the proxy. Null for tenants.';

COMMENT ON COLUMN farebox.usage_events.adjusted_cost_usd IS 'cost_usd with all adjustments booked to its tenant, where the viewer sees it; 0 after the event moved to another tenant; null: unpriced and never adjusted.';

COMMENT ON COLUMN farebox.usage_events.adjusted_billed_usd IS 'billed_usd with all adjustments booked to its tenant; 0 after the event moved to another tenant; null: unpriced and never adjusted.';

COMMENT ON COLUMN farebox.usage_events.plan IS 'The tenant''s plan when the call began; selling rules go by it.';

CREATE TABLE farebox_private.key_activity (
    key_id uuid NOT NULL,
    first_used_at timestamp with time zone NOT NULL,
    last_used_at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY farebox_private.key_activity FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.key_activity IS 'When keys were used; apart from virtual_keys so that ingest does not touch the directory.';

COMMENT ON COLUMN farebox_private.key_activity.key_id IS 'The virtual key.';

COMMENT ON COLUMN farebox_private.key_activity.first_used_at IS 'Its earliest use.';

COMMENT ON COLUMN farebox_private.key_activity.last_used_at IS 'Its latest use: start of a call, or a request to the API.';

CREATE TABLE farebox_private.virtual_keys (
    key_id uuid NOT NULL,
    prefix text NOT NULL,
    secret_hash text NOT NULL,
    name text NOT NULL,
    tenant_id text,
    may_attribute text DEFAULT 'none'::text NOT NULL,
    may_attribute_values text[] DEFAULT '{}'::text[] NOT NULL,
    scopes text[] DEFAULT '{proxy}'::text[] NOT NULL,
    environment text DEFAULT 'live'::text NOT NULL,
    own_credential boolean DEFAULT false NOT NULL,
    allowed_upstreams text[],
    allowed_models text[],
    networks text[],
    expires_at timestamp with time zone,
    revoked_at timestamp with time zone,
    revoked_by text,
    revoke_streams text DEFAULT 'cut'::text NOT NULL,
    issued_by text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    rotated_from uuid,
    allowed_tools text[],
    allowed_projects text[],
    stale_after_days integer,
    CONSTRAINT environment_is_known CHECK ((environment = ANY (ARRAY['live'::text, 'test'::text]))),
    CONSTRAINT may_attribute_is_known CHECK ((may_attribute = ANY (ARRAY['none'::text, 'any'::text, 'list'::text, 'prefix'::text]))),
    CONSTRAINT name_is_id CHECK (farebox_private.is_id(name)),
    CONSTRAINT prefix_is_visible_part CHECK ((prefix ~ '^vk_[A-Z2-7]{5}$'::text)),
    CONSTRAINT revoke_streams_is_known CHECK ((revoke_streams = ANY (ARRAY['cut'::text, 'finish'::text]))),
    CONSTRAINT secret_is_hashed CHECK ((secret_hash ~~ '$argon2id$%'::text)),
    CONSTRAINT stale_after_days_is_positive CHECK ((stale_after_days > 0))
);

ALTER TABLE ONLY farebox_private.virtual_keys FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.virtual_keys IS 'Virtual keys; the secret is kept as argon2id only.';

COMMENT ON COLUMN farebox_private.virtual_keys.key_id IS 'Identifier of the key.';

COMMENT ON COLUMN farebox_private.virtual_keys.prefix IS 'The first eight characters, visible and unique.';

COMMENT ON COLUMN farebox_private.virtual_keys.secret_hash IS 'argon2id in PHC form; never shown.';

COMMENT ON COLUMN farebox_private.virtual_keys.name IS 'A name for people.';

COMMENT ON COLUMN farebox_private.virtual_keys.tenant_id IS 'The key''s own tenant, or null.';

COMMENT ON COLUMN farebox_private.virtual_keys.may_attribute IS 'Which tenants an unscoped key may name: none, any, list, prefix.';

COMMENT ON COLUMN farebox_private.virtual_keys.may_attribute_values IS 'The list, or the prefix.';

COMMENT ON COLUMN farebox_private.virtual_keys.scopes IS 'What the key may do: proxy, usage:read, admin, ….';

COMMENT ON COLUMN farebox_private.virtual_keys.environment IS 'live, or test (simulated upstream, on no invoice).';

COMMENT ON COLUMN farebox_private.virtual_keys.own_credential IS 'The caller''s own provider credential passes through.';

COMMENT ON COLUMN farebox_private.virtual_keys.allowed_upstreams IS 'Upstreams it may reach; null: all.';

COMMENT ON COLUMN farebox_private.virtual_keys.allowed_models IS 'Models it may ask for; null: all.';

COMMENT ON COLUMN farebox_private.virtual_keys.networks IS 'Source networks in CIDR form it may come from; null: all.';

COMMENT ON COLUMN farebox_private.virtual_keys.expires_at IS 'When it stops working; null: never.';

COMMENT ON COLUMN farebox_private.virtual_keys.revoked_at IS 'When it was revoked.';

COMMENT ON COLUMN farebox_private.virtual_keys.revoked_by IS 'Who revoked it.';

COMMENT ON COLUMN farebox_private.virtual_keys.revoke_streams IS 'Whether revocation cuts running streams or lets them finish.';

COMMENT ON COLUMN farebox_private.virtual_keys.issued_by IS 'Who issued it.';

COMMENT ON COLUMN farebox_private.virtual_keys.created_at IS 'When it was issued.';

COMMENT ON COLUMN farebox_private.virtual_keys.rotated_from IS 'The key it replaces.';

COMMENT ON COLUMN farebox_private.virtual_keys.allowed_tools IS 'Functions and hosted tools its calls may offer a model; null: all.';

COMMENT ON COLUMN farebox_private.virtual_keys.allowed_projects IS 'Projects it may name; null: all.';

COMMENT ON COLUMN farebox_private.virtual_keys.stale_after_days IS 'Days without use after which it is stale; null: as its tenant or the deployment says.';

CREATE VIEW farebox.virtual_keys AS
 SELECT keys.key_id,
    keys.prefix,
    keys.name,
    keys.tenant_id,
    keys.may_attribute,
    keys.may_attribute_values,
    keys.scopes,
    keys.environment,
    keys.own_credential,
    keys.allowed_upstreams,
    keys.allowed_models,
    keys.networks,
    keys.expires_at,
    keys.revoked_at,
    keys.revoked_by,
    keys.revoke_streams,
    keys.issued_by,
    keys.created_at,
    keys.rotated_from,
    keys.allowed_projects,
    keys.stale_after_days,
    activity.first_used_at,
    activity.last_used_at,
    keys.allowed_tools
   FROM (farebox_private.virtual_keys keys
     LEFT JOIN farebox_private.key_activity activity USING (key_id));

COMMENT ON VIEW farebox.virtual_keys IS 'Virtual keys, without their secrets.';

COMMENT ON COLUMN farebox.virtual_keys.key_id IS 'Identifier of the key.';

COMMENT ON COLUMN farebox.virtual_keys.prefix IS 'The first eight characters, visible and unique.';

COMMENT ON COLUMN farebox.virtual_keys.name IS 'A name for people.';

COMMENT ON COLUMN farebox.virtual_keys.tenant_id IS 'The key''s own tenant, or null.';

COMMENT ON COLUMN farebox.virtual_keys.may_attribute IS 'Which tenants an unscoped key may name: none, any, list, prefix.';

COMMENT ON COLUMN farebox.virtual_keys.may_attribute_values IS 'The list, or the prefix.';

COMMENT ON COLUMN farebox.virtual_keys.scopes IS 'What the key may do: proxy, usage:read, admin, ….';

COMMENT ON COLUMN farebox.virtual_keys.environment IS 'live, or test (simulated upstream, on no invoice).';

COMMENT ON COLUMN farebox.virtual_keys.own_credential IS 'The caller''s own provider credential passes through.';

COMMENT ON COLUMN farebox.virtual_keys.allowed_upstreams IS 'Upstreams it may reach; null: all.';

COMMENT ON COLUMN farebox.virtual_keys.allowed_models IS 'Models it may ask for; null: all.';

COMMENT ON COLUMN farebox.virtual_keys.networks IS 'Source networks in CIDR form it may come from; null: all.';

COMMENT ON COLUMN farebox.virtual_keys.expires_at IS 'When it stops working; null: never.';

COMMENT ON COLUMN farebox.virtual_keys.revoked_at IS 'When it was revoked.';

COMMENT ON COLUMN farebox.virtual_keys.revoked_by IS 'Who revoked it.';

COMMENT ON COLUMN farebox.virtual_keys.revoke_streams IS 'Whether revocation cuts running streams or lets them finish.';

COMMENT ON COLUMN farebox.virtual_keys.issued_by IS 'Who issued it.';

COMMENT ON COLUMN farebox.virtual_keys.created_at IS 'When it was issued.';

COMMENT ON COLUMN farebox.virtual_keys.rotated_from IS 'The key it replaces.';

COMMENT ON COLUMN farebox.virtual_keys.allowed_projects IS 'Projects it may name; null: all.';

COMMENT ON COLUMN farebox.virtual_keys.stale_after_days IS 'Days without use after which it is stale; null: as its tenant or the deployment says.';

COMMENT ON COLUMN farebox.virtual_keys.first_used_at IS 'When it was used first; null: never.';

COMMENT ON COLUMN farebox.virtual_keys.last_used_at IS 'When it was used last; null: never.';

COMMENT ON COLUMN farebox.virtual_keys.allowed_tools IS 'Functions and hosted tools its calls may offer a model; null: all.';

CREATE FUNCTION farebox.explain(event_id uuid) RETURNS TABLE(step integer, topic text, item text, quantity numeric, rate text, cost_usd numeric, billed_usd numeric, detail text)
    LANGUAGE sql STABLE
    BEGIN ATOMIC
 WITH event AS (
          SELECT usage_events.event_id,
             usage_events.call_id,
             usage_events.part,
             usage_events.is_final,
             usage_events.settles,
             usage_events.schema,
             usage_events.tenant_id,
             usage_events.customer_id,
             usage_events.project,
             usage_events.agent,
             usage_events.revision,
             usage_events.session_id,
             usage_events.run_id,
             usage_events.span_id,
             usage_events.parent_span_id,
             usage_events.section,
             usage_events.metadata,
             usage_events.synthetic,
             usage_events.environment,
             usage_events.attribution,
             usage_events.key_id,
             usage_events.credential_id,
             usage_events.paid_by,
             usage_events.upstream,
             usage_events.provider,
             usage_events.endpoint,
             usage_events.region,
             usage_events.model_requested,
             usage_events.model,
             usage_events.service_tier,
             usage_events.started_at,
             usage_events.ended_at,
             usage_events.received_at,
             usage_events.period,
             usage_events.day,
             usage_events.is_late,
             usage_events.clock_suspect,
             usage_events.ttfb_ms,
             usage_events.ttft_ms,
             usage_events.duration_ms,
             usage_events.overhead_ms,
             usage_events.status,
             usage_events.ending,
             usage_events.streaming,
             usage_events.transport,
             usage_events.request_bytes,
             usage_events.response_bytes,
             usage_events.request_amended,
             usage_events.attempt,
             usage_events.client_retry,
             usage_events.sanitised,
             usage_events.lines,
             usage_events.usage,
             usage_events.usage_source,
             usage_events.usage_reason,
             usage_events.usage_low,
             usage_events.usage_high,
             usage_events.evidence,
             usage_events.charges,
             usage_events.cost_usd,
             usage_events.billed_usd,
             usage_events.claimed_usd,
             usage_events.price_mismatch,
             usage_events.pricing,
             usage_events.rate_cards,
             usage_events.repeats,
             usage_events.upstream_request_id,
             usage_events.response_id,
             usage_events.node,
             usage_events.epoch,
             usage_events.seq,
             usage_events.content_sha256,
             usage_events.adjusted_cost_usd,
             usage_events.adjusted_billed_usd,
             usage_events.plan
            FROM farebox.usage_events
           WHERE (usage_events.event_id = explain.event_id)
         ), months AS (
          SELECT event.tenant_id,
             event.period
            FROM event
         UNION
          SELECT adjustments.tenant_id,
             adjustments.period
            FROM farebox.adjustments
           WHERE (adjustments.event_id = explain.event_id)
         ), counted AS (
          SELECT event.tenant_id,
             event.period,
             (charge.value ->> 'model'::text) AS model,
             (charge.value ->> 'meter'::text) AS meter,
             NULL::date AS corrects
            FROM (event
              CROSS JOIN LATERAL jsonb_array_elements(event.charges) charge(value))
           WHERE (event.environment = 'live'::text)
         UNION
          SELECT adjustments.tenant_id,
             adjustments.period,
             adjustments.model,
             adjustments.meter,
                 CASE
                     WHEN (adjustments.event_period < adjustments.period) THEN adjustments.event_period
                     ELSE NULL::date
                 END AS "case"
            FROM farebox.adjustments
           WHERE ((adjustments.event_id = explain.event_id) AND (adjustments.environment = 'live'::text) AND (adjustments.meter <> 'calls'::text))
         ), steps AS (
          SELECT 1 AS step,
             'call'::text AS topic,
             fact.item,
             NULL::numeric AS quantity,
             NULL::text AS rate,
             NULL::numeric AS cost_usd,
             NULL::numeric AS billed_usd,
             fact.detail,
             fact.place
            FROM (event
              CROSS JOIN LATERAL ( VALUES (1,'tenant'::text,((COALESCE(event.tenant_id, 'unattributed'::text) || ', from '::text) || event.attribution)), (2,'upstream'::text,((((event.upstream || ', '::text) || event.endpoint) || ', paid by '::text) || event.paid_by)), (3,'model'::text,((('asked '::text || COALESCE(event.model_requested, 'for none'::text)) || ', billed '::text) || COALESCE(event.model, 'none'::text))), (4,'answer'::text,((event.ending || COALESCE((', status '::text || event.status), ''::text)) || COALESCE(((', '::text || event.duration_ms) || ' ms'::text), ''::text))), (5,'bytes'::text,((((COALESCE((event.request_bytes)::text, 'unknown'::text) || ' up, '::text) || COALESCE((event.response_bytes)::text, 'unknown'::text)) || ' down, '::text) || event.transport)), (6,'provider ids'::text,concat_ws(', '::text, event.upstream_request_id, event.response_id)), (7,'key'::text,( SELECT ((virtual_keys.prefix || ', '::text) || virtual_keys.name)
                            FROM farebox.virtual_keys
                           WHERE (virtual_keys.key_id = event.key_id)))) fact(place, item, detail))
         UNION ALL
          SELECT 2,
             'limit'::text,
             limits.meter,
             limits.amount,
             ('per '::text || limits.window_kind),
             NULL::numeric,
             NULL::numeric,
             concat_ws(', '::text, limits.action,
                 CASE
                     WHEN limits.dry_run THEN 'dry run'::text
                     ELSE NULL::text
                 END, COALESCE(('tenant '::text || limits.tenant_id), 'every tenant'::text), ('customer '::text || limits.customer_id), ('model '::text || limits.model), ('limit '::text || limits.limit_id)) AS concat_ws,
             row_number() OVER (ORDER BY limits.created_at) AS row_number
            FROM (event
              JOIN farebox.limits ON ((((limits.tenant_id IS NULL) OR (limits.tenant_id = event.tenant_id)) AND ((limits.customer_id IS NULL) OR (limits.customer_id = event.customer_id)) AND ((limits.project IS NULL) OR (limits.project = event.project)) AND ((limits.agent IS NULL) OR (limits.agent = event.agent)) AND ((limits.key_id IS NULL) OR (limits.key_id = event.key_id)) AND ((limits.provider IS NULL) OR (limits.provider = event.provider)) AND ((limits.upstream IS NULL) OR (limits.upstream = event.upstream)) AND ((limits.model IS NULL) OR ((limits.model = event.model) OR (limits.model = event.model_requested))) AND (limits.created_at <= event.started_at) AND ((limits.expires_at IS NULL) OR (limits.expires_at > event.started_at)))))
         UNION ALL
          SELECT 3,
             'limit event'::text,
             limit_events.kind,
             limit_events.used,
             ('of '::text || limit_events.amount),
             NULL::numeric,
             NULL::numeric,
             concat_ws(', '::text, limit_events.meter, ('limit '::text || limit_events.limit_id)) AS concat_ws,
             row_number() OVER (ORDER BY limit_events.at) AS row_number
            FROM (event
              JOIN farebox.limit_events ON (((limit_events.tenant_id = event.tenant_id) AND (limit_events.at >= event.started_at) AND (limit_events.at <= COALESCE(event.ended_at, event.started_at)))))
         UNION ALL
          SELECT 4,
             'evidence'::text,
             (seen.value ->> 'at'::text),
             NULL::numeric,
             NULL::text,
             NULL::numeric,
             NULL::numeric,
             (seen.value ->> 'value'::text),
             seen.place
            FROM (event
              CROSS JOIN LATERAL jsonb_array_elements((event.evidence -> 'objects'::text)) WITH ORDINALITY seen(value, place))
         UNION ALL
          SELECT 5,
             'usage'::text,
             meter.key,
             (meter.value)::numeric AS value,
             NULL::text,
             NULL::numeric,
             NULL::numeric,
             concat_ws(', '::text, (line.value ->> 'model'::text), event.usage_source, event.usage_reason, NULLIF((line.value ->> 'conditions'::text), '{}'::text)) AS concat_ws,
             line.place
            FROM ((event
              CROSS JOIN LATERAL jsonb_array_elements(event.lines) WITH ORDINALITY line(value, place))
              CROSS JOIN LATERAL jsonb_each_text((line.value -> 'usage'::text)) meter(key, value))
         UNION ALL
          SELECT 6,
             'bounds'::text,
             meters.meter,
             NULL::numeric,
             NULL::text,
             NULL::numeric,
             NULL::numeric,
             ((COALESCE((event.usage_low ->> meters.meter), '0'::text) || ' to '::text) || COALESCE((event.usage_high ->> meters.meter), 'unbounded'::text)),
             1
            FROM (event
              CROSS JOIN LATERAL jsonb_object_keys((COALESCE(event.usage_low, '{}'::jsonb) || COALESCE(event.usage_high, '{}'::jsonb))) meters(meter))
         UNION ALL
          SELECT 7,
             'charge'::text,
             (charge.value ->> 'meter'::text),
             ((charge.value ->> 'quantity'::text))::numeric AS "numeric",
             ((((charge.value -> 'price_rate'::text) ->> 'usd'::text) || ' USD per '::text) || ((charge.value -> 'price_rate'::text) ->> 'per'::text)),
             ((charge.value ->> 'cost_usd'::text))::numeric AS "numeric",
             ((charge.value ->> 'billed_usd'::text))::numeric AS "numeric",
             concat_ws(', '::text, (charge.value ->> 'model'::text), (charge.value ->> 'cost_rule'::text), (charge.value ->> 'price_rule'::text), ('billed as '::text || (charge.value ->> 'billed_quantity'::text))) AS concat_ws,
             charge.place
            FROM (event
              CROSS JOIN LATERAL jsonb_array_elements(event.charges) WITH ORDINALITY charge(value, place))
         UNION ALL
          SELECT 8,
             'booked'::text,
             event.pricing,
             NULL::numeric,
             NULL::text,
             event.cost_usd,
             event.billed_usd,
             concat_ws(', '::text, ('card '::text || "left"((event.rate_cards ->> 'cost'::text), 12)), ('the proxy claimed '::text || event.claimed_usd),
                 CASE
                     WHEN event.price_mismatch THEN 'which differs'::text
                     ELSE NULL::text
                 END, ('repeats '::text || event.repeats), ('settles '::text || event.settles)) AS concat_ws,
             1
            FROM event
         UNION ALL
          SELECT
                 CASE
                     WHEN (NOT (adjustments.tenant_id IS DISTINCT FROM event.tenant_id)) THEN 9
                     ELSE 12
                 END AS "case",
                 CASE
                     WHEN (NOT (adjustments.tenant_id IS DISTINCT FROM event.tenant_id)) THEN 'adjustment'::text
                     ELSE 'moved'::text
                 END AS "case",
             adjustments.meter,
             adjustments.quantity,
             NULL::text,
             adjustments.cost_usd,
             adjustments.billed_usd,
             concat_ws(', '::text, adjustments.kind, adjustments.reason, ('in '::text || to_char((adjustments.period)::timestamp with time zone, 'YYYY-MM'::text)),
                 CASE
                     WHEN (adjustments.kind = 'retag'::text) THEN concat_ws(', '::text, ('tenant '::text || COALESCE(adjustments.tenant_id, 'unattributed'::text)), ('customer '::text || adjustments.customer_id), ('project '::text || adjustments.project))
                     ELSE NULL::text
                 END) AS concat_ws,
             ((EXTRACT(epoch FROM adjustments.booked_at) * (1000000)::numeric))::bigint AS int8
            FROM (event
              JOIN farebox.adjustments ON ((adjustments.event_id = event.event_id)))
         UNION ALL
          SELECT 10,
             'invoice'::text,
             to_char((months.period)::timestamp with time zone, 'YYYY-MM'::text) AS to_char,
             NULL::numeric,
             NULL::text,
             NULL::numeric,
             NULL::numeric,
             concat_ws(', '::text,
                 CASE
                     WHEN (months.period = event.period) THEN ('day '::text || event.day)
                     ELSE 'corrections'::text
                 END,
                 CASE
                     WHEN ((months.period = event.period) AND event.is_late) THEN 'late: its own month was closed'::text
                     ELSE NULL::text
                 END,
                 CASE
                     WHEN (event.environment = 'test'::text) THEN 'test traffic is on no invoice'::text
                     ELSE ('invoice '::text || invoices.number)
                 END) AS concat_ws,
             (months.period - '2000-01-01'::date)
            FROM ((event
              JOIN months ON ((NOT (months.tenant_id IS DISTINCT FROM event.tenant_id))))
              LEFT JOIN farebox.invoices ON (((invoices.tenant_id = months.tenant_id) AND (invoices.period = months.period))))
         UNION ALL
          SELECT
                 CASE
                     WHEN (invoices.tenant_id = event.tenant_id) THEN 11
                     ELSE 12
                 END AS "case",
                 CASE
                     WHEN (invoices.tenant_id = event.tenant_id) THEN 'invoice line'::text
                     ELSE 'moved'::text
                 END AS "case",
             invoice_lines.meter,
             invoice_lines.quantity,
             NULL::text,
             NULL::numeric,
             invoice_lines.billed_usd,
             (((('line '::text || invoice_lines.line) || ' of '::text) || invoices.number) || ', of all its events'::text),
             (((invoices.period - '2000-01-01'::date) * (1000000)::bigint) + invoice_lines.line)
            FROM (((event
              CROSS JOIN counted)
              JOIN farebox.invoices ON (((invoices.tenant_id = counted.tenant_id) AND (invoices.period = counted.period))))
              JOIN farebox.invoice_lines ON (((invoice_lines.invoice_id = invoices.invoice_id) AND (invoice_lines.provider = event.provider) AND (NOT (invoice_lines.model IS DISTINCT FROM counted.model)) AND (invoice_lines.meter = counted.meter) AND (NOT (invoice_lines.corrects IS DISTINCT FROM counted.corrects)))))
         UNION ALL
          SELECT 12,
             'moved'::text,
             to_char((months.period)::timestamp with time zone, 'YYYY-MM'::text) AS to_char,
             NULL::numeric,
             NULL::text,
             NULL::numeric,
             NULL::numeric,
             concat_ws(', '::text, ('tenant '::text || COALESCE(months.tenant_id, 'unattributed'::text)),
                 CASE
                     WHEN (event.environment = 'live'::text) THEN ('invoice '::text || invoices.number)
                     ELSE NULL::text
                 END) AS concat_ws,
             ((months.period - '2000-01-01'::date) * (1000000)::bigint)
            FROM ((event
              JOIN months ON ((months.tenant_id IS DISTINCT FROM event.tenant_id)))
              LEFT JOIN farebox.invoices ON (((invoices.tenant_id = months.tenant_id) AND (invoices.period = months.period))))
         )
  SELECT steps.step,
     steps.topic,
     steps.item,
     steps.quantity,
     steps.rate,
     steps.cost_usd,
     steps.billed_usd,
     NULLIF(steps.detail, ''::text) AS "nullif"
    FROM steps
   ORDER BY steps.step, steps.place, steps.item;
END;

COMMENT ON FUNCTION farebox.explain(event_id uuid) IS 'One event from what was seen on the wire to the invoice''s month, step by step: call, limit, limit event, evidence, usage, bounds, charge, booked, adjustment, invoice, invoice line, moved (the tenants that corrections took it to, what they are charged, their months and lines). Tenants see their own, without costs.';

CREATE TABLE farebox_private.rate_card_revisions (
    sha256 text NOT NULL,
    kind text DEFAULT 'cost'::text NOT NULL,
    provider text NOT NULL,
    canonical text NOT NULL,
    loaded_at timestamp with time zone DEFAULT now() NOT NULL,
    activated_at timestamp with time zone,
    activated_by text,
    CONSTRAINT kind_is_known CHECK ((kind = ANY (ARRAY['cost'::text, 'price'::text]))),
    CONSTRAINT sha256_is_hex CHECK ((sha256 ~ '^[0-9a-f]{64}$'::text)),
    CONSTRAINT sha256_is_of_the_text CHECK ((sha256 = encode(sha256(convert_to(canonical, 'UTF8'::name)), 'hex'::text)))
);

ALTER TABLE ONLY farebox_private.rate_card_revisions FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.rate_card_revisions IS 'Rate cards by content; a revision never changes. The newest activated one of a provider is active.';

COMMENT ON COLUMN farebox_private.rate_card_revisions.sha256 IS 'SHA-256 of the canonical form: the revision''s identity.';

COMMENT ON COLUMN farebox_private.rate_card_revisions.kind IS 'cost (a provider''s prices) or price (selling rules).';

COMMENT ON COLUMN farebox_private.rate_card_revisions.provider IS 'The vendor.';

COMMENT ON COLUMN farebox_private.rate_card_revisions.canonical IS 'The card''s canonical JSON text.';

COMMENT ON COLUMN farebox_private.rate_card_revisions.loaded_at IS 'When it came into the database.';

COMMENT ON COLUMN farebox_private.rate_card_revisions.activated_at IS 'When it became active; null: not yet.';

COMMENT ON COLUMN farebox_private.rate_card_revisions.activated_by IS 'Who activated it; built-in cards: migrate.';

CREATE FUNCTION farebox_private.is_selling_revision(revision text) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN (revision = (SELECT cards.sha256 FROM farebox_private.rate_card_revisions cards WHERE ((cards.kind = 'price'::text) AND (cards.activated_at IS NOT NULL)) ORDER BY cards.activated_at DESC, cards.sha256 DESC LIMIT 1));

COMMENT ON FUNCTION farebox_private.is_selling_revision(revision text) IS 'Whether these are the selling rules in force.';

CREATE TABLE farebox_private.allowances (
    revision text NOT NULL,
    allowance text NOT NULL,
    tenant_id text,
    plan text,
    provider text,
    model text,
    meters text[],
    usd farebox_private.usd,
    quantity numeric,
    valid_from date,
    valid_to date,
    CONSTRAINT includes_one_thing CHECK (((usd IS NULL) <> (quantity IS NULL))),
    CONSTRAINT includes_something CHECK ((((usd)::numeric > (0)::numeric) OR (quantity > (0)::numeric))),
    CONSTRAINT valid_from_is_month CHECK ((EXTRACT(day FROM valid_from) = (1)::numeric)),
    CONSTRAINT valid_to_is_month CHECK ((EXTRACT(day FROM valid_to) = (1)::numeric))
);

ALTER TABLE ONLY farebox_private.allowances FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.allowances IS 'What each revision of the selling rules includes in a calendar month''s price.';

COMMENT ON COLUMN farebox_private.allowances.revision IS 'The revision of the selling rules.';

COMMENT ON COLUMN farebox_private.allowances.allowance IS 'Its name in them.';

COMMENT ON COLUMN farebox_private.allowances.tenant_id IS 'The tenant it is for; null: all of the plan.';

COMMENT ON COLUMN farebox_private.allowances.plan IS 'The plan it is for; null: every plan.';

COMMENT ON COLUMN farebox_private.allowances.provider IS 'The vendor; null: all.';

COMMENT ON COLUMN farebox_private.allowances.model IS 'The model; null: all.';

COMMENT ON COLUMN farebox_private.allowances.meters IS 'The meters; null: all.';

COMMENT ON COLUMN farebox_private.allowances.usd IS 'How much of the billed amount is included.';

COMMENT ON COLUMN farebox_private.allowances.quantity IS 'How many units of the meters are included.';

COMMENT ON COLUMN farebox_private.allowances.valid_from IS 'First month it holds in; null: always.';

COMMENT ON COLUMN farebox_private.allowances.valid_to IS 'First month it does not hold in any more; null: none.';

CREATE TABLE farebox_private.tenants (
    tenant_id text NOT NULL,
    name text,
    status text DEFAULT 'active'::text NOT NULL,
    plan text,
    time_zone text DEFAULT 'UTC'::text NOT NULL,
    time_zone_before text,
    time_zone_from date,
    settings jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    created_by text,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    status_reason text,
    CONSTRAINT settings_is_object CHECK ((jsonb_typeof(settings) = 'object'::text)),
    CONSTRAINT status_is_known CHECK ((status = ANY (ARRAY['active'::text, 'suspended'::text, 'archived'::text]))),
    CONSTRAINT status_reason_is_short CHECK (((char_length(status_reason) >= 1) AND (char_length(status_reason) <= 256))),
    CONSTRAINT tenant_id_is_id CHECK (farebox_private.is_id(tenant_id)),
    CONSTRAINT time_zone_is_named CHECK ((time_zone ~ '^(UTC|[A-Za-z]+(/[A-Za-z0-9_+-]+)+)$'::text))
);

ALTER TABLE ONLY farebox_private.tenants FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.tenants IS 'The operator''s customers, made by hand or by their first event.';

COMMENT ON COLUMN farebox_private.tenants.tenant_id IS 'The identifier used on the wire.';

COMMENT ON COLUMN farebox_private.tenants.name IS 'A name for people.';

COMMENT ON COLUMN farebox_private.tenants.status IS 'active, suspended (refused) or archived (refused and hidden).';

COMMENT ON COLUMN farebox_private.tenants.plan IS 'Selling rules may go by it.';

COMMENT ON COLUMN farebox_private.tenants.time_zone IS 'IANA name; decides the tenant''s days and months.';

COMMENT ON COLUMN farebox_private.tenants.time_zone_before IS 'The zone that holds before time_zone_from.';

COMMENT ON COLUMN farebox_private.tenants.time_zone_from IS 'First month of time_zone; null: always.';

COMMENT ON COLUMN farebox_private.tenants.settings IS 'Settings by name: on_unrecordable, spool_sync, stream_usage, unpriced_models, ….';

COMMENT ON COLUMN farebox_private.tenants.created_at IS 'When the tenant was made.';

COMMENT ON COLUMN farebox_private.tenants.created_by IS 'Who made it; ingest when its first event did.';

COMMENT ON COLUMN farebox_private.tenants.updated_at IS 'When it was last changed.';

COMMENT ON COLUMN farebox_private.tenants.status_reason IS 'Why it is suspended or archived; told to its callers.';

CREATE VIEW farebox.allowances AS
 SELECT tenants.tenant_id,
    allowances.allowance,
    allowances.plan,
    allowances.provider,
    allowances.model,
    allowances.meters,
    allowances.usd,
    allowances.quantity,
    allowances.valid_from,
    allowances.valid_to,
    allowances.revision
   FROM (farebox_private.allowances
     CROSS JOIN farebox_private.tenants)
  WHERE (((allowances.tenant_id IS NULL) OR (allowances.tenant_id = tenants.tenant_id)) AND ((allowances.plan IS NULL) OR (allowances.plan = tenants.plan)) AND farebox_private.is_selling_revision(allowances.revision));

COMMENT ON VIEW farebox.allowances IS 'What the selling rules in force include in a calendar month''s price of each tenant. Tenants see their own.';

COMMENT ON COLUMN farebox.allowances.tenant_id IS 'The tenant.';

COMMENT ON COLUMN farebox.allowances.allowance IS 'The allowance''s name in the selling rules.';

COMMENT ON COLUMN farebox.allowances.plan IS 'The plan it comes with; null: it does not go by the plan.';

COMMENT ON COLUMN farebox.allowances.provider IS 'The vendor; null: all.';

COMMENT ON COLUMN farebox.allowances.model IS 'The model; null: all.';

COMMENT ON COLUMN farebox.allowances.meters IS 'The meters; null: all.';

COMMENT ON COLUMN farebox.allowances.usd IS 'How much of the billed amount is included.';

COMMENT ON COLUMN farebox.allowances.quantity IS 'How many units of the meters are included.';

COMMENT ON COLUMN farebox.allowances.valid_from IS 'First month it holds in; null: always.';

COMMENT ON COLUMN farebox.allowances.valid_to IS 'First month it does not hold in any more; null: none.';

COMMENT ON COLUMN farebox.allowances.revision IS 'The revision of the selling rules.';

CREATE TABLE farebox_private.corrections (
    correction_id uuid NOT NULL,
    batch_id uuid NOT NULL,
    event_id uuid NOT NULL,
    number integer NOT NULL,
    kind text NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    old_revision text,
    new_revision text,
    undoes uuid,
    booked_at timestamp with time zone DEFAULT now() NOT NULL,
    tenant_before text,
    customer_before text,
    project_before text,
    tenant_id text,
    customer_id text,
    project text,
    lines text NOT NULL,
    usage_source text NOT NULL,
    charges text NOT NULL,
    cost_usd farebox_private.usd,
    billed_usd farebox_private.usd,
    pricing text NOT NULL,
    cost_card bytea,
    price_card bytea,
    CONSTRAINT amounts_not_negative CHECK ((((cost_usd)::numeric >= (0)::numeric) AND ((billed_usd)::numeric >= (0)::numeric))),
    CONSTRAINT kind_is_known CHECK ((kind = ANY (ARRAY['reprice'::text, 'retag'::text, 'reread'::text]))),
    CONSTRAINT number_from_one CHECK ((number >= 1)),
    CONSTRAINT pricing_is_known CHECK ((pricing = ANY (ARRAY['priced'::text, 'partial'::text, 'unpriced'::text, 'unknown'::text, 'free'::text, 'repeat'::text]))),
    CONSTRAINT reason_is_given CHECK ((reason <> ''::text)),
    CONSTRAINT usage_source_is_known CHECK ((usage_source = ANY (ARRAY['reported'::text, 'partial'::text, 'measured'::text, 'estimated'::text, 'pending'::text, 'missing'::text, 'none'::text])))
);

ALTER TABLE ONLY farebox_private.corrections FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.corrections IS 'How an event stands after each of its corrections; only grows. The differences are booked as adjustments.';

COMMENT ON COLUMN farebox_private.corrections.correction_id IS 'Identifier of the correction.';

COMMENT ON COLUMN farebox_private.corrections.batch_id IS 'What was corrected together.';

COMMENT ON COLUMN farebox_private.corrections.event_id IS 'The event.';

COMMENT ON COLUMN farebox_private.corrections.number IS 'Its how many-th correction, from 1.';

COMMENT ON COLUMN farebox_private.corrections.kind IS 'reprice, retag or reread.';

COMMENT ON COLUMN farebox_private.corrections.actor IS 'Who booked it.';

COMMENT ON COLUMN farebox_private.corrections.reason IS 'Why.';

COMMENT ON COLUMN farebox_private.corrections.old_revision IS 'The rate card or reader it stood by before.';

COMMENT ON COLUMN farebox_private.corrections.new_revision IS 'The rate card or reader it stands by.';

COMMENT ON COLUMN farebox_private.corrections.undoes IS 'The batch that it takes back.';

COMMENT ON COLUMN farebox_private.corrections.booked_at IS 'When it was booked.';

COMMENT ON COLUMN farebox_private.corrections.tenant_before IS 'The tenant it was booked to before.';

COMMENT ON COLUMN farebox_private.corrections.customer_before IS 'The customer it was booked to before.';

COMMENT ON COLUMN farebox_private.corrections.project_before IS 'The project it was booked to before.';

COMMENT ON COLUMN farebox_private.corrections.tenant_id IS 'The tenant it is booked to; null: unattributed.';

COMMENT ON COLUMN farebox_private.corrections.customer_id IS 'The customer it is booked to.';

COMMENT ON COLUMN farebox_private.corrections.project IS 'The project it is booked to.';

COMMENT ON COLUMN farebox_private.corrections.lines IS 'What pricing reads; JSON as text.';

COMMENT ON COLUMN farebox_private.corrections.usage_source IS 'How the quantities are known.';

COMMENT ON COLUMN farebox_private.corrections.charges IS 'Each meter priced, in the form of usage_events.charges.';

COMMENT ON COLUMN farebox_private.corrections.cost_usd IS 'What the provider charges; null: a rate is missing.';

COMMENT ON COLUMN farebox_private.corrections.billed_usd IS 'What the operator charges; null: unpriced.';

COMMENT ON COLUMN farebox_private.corrections.pricing IS 'priced, partial, unpriced, unknown, free or repeat.';

COMMENT ON COLUMN farebox_private.corrections.cost_card IS 'SHA-256 of the provider''s card it was priced by.';

COMMENT ON COLUMN farebox_private.corrections.price_card IS 'SHA-256 of the selling rules it was priced by.';

CREATE VIEW farebox.unpriced_usage AS
 SELECT events.event_id,
    events.tenant_id,
    COALESCE(customers.customer_id, events.customer_id) AS customer_id,
    events.started_at,
    events.period,
    events.environment,
    events.paid_by,
    events.upstream,
    events.provider,
    events.endpoint,
    events.model_requested,
    events.model,
    events.pricing,
    events.ending,
    events.usage_source,
    events.usage_reason,
    (events.lines)::jsonb AS lines,
    (events.usage)::jsonb AS usage,
    events.usage_low,
    events.usage_high,
    events.billed_usd,
    events.response_id
   FROM (farebox_private.usage_events events
     LEFT JOIN farebox_private.customers ON (((customers.tenant_id = events.tenant_id) AND (customers.reference = events.customer_id))))
  WHERE ((events.pricing = ANY (ARRAY['unpriced'::text, 'partial'::text, 'unknown'::text])) AND COALESCE(( SELECT ((corrections.pricing = ANY (ARRAY['unpriced'::text, 'partial'::text, 'unknown'::text])) AND (NOT (corrections.tenant_id IS DISTINCT FROM events.tenant_id)))
           FROM farebox_private.corrections
          WHERE (corrections.event_id = events.event_id)
          ORDER BY corrections.number DESC
         LIMIT 1), true) AND (NOT ((events.usage_source = 'pending'::text) AND (EXISTS ( SELECT
           FROM farebox_private.event_links told
          WHERE ((told.other_event_id = events.event_id) AND (told.relation = 'settles'::text)))))));

COMMENT ON VIEW farebox.unpriced_usage IS 'Events whose amount is not, or not wholly, known: unpriced and partial ones block the close, unknown ones do not.';

COMMENT ON COLUMN farebox.unpriced_usage.event_id IS 'UUIDv7 made by the proxy; its millisecond is started_at.';

COMMENT ON COLUMN farebox.unpriced_usage.tenant_id IS 'The tenant; null: unattributed.';

COMMENT ON COLUMN farebox.unpriced_usage.customer_id IS 'The tenant''s end customer.';

COMMENT ON COLUMN farebox.unpriced_usage.started_at IS 'By the proxy''s clock; decides price and period.';

COMMENT ON COLUMN farebox.unpriced_usage.period IS 'Month it is invoiced in, by its first day.';

COMMENT ON COLUMN farebox.unpriced_usage.environment IS 'The key''s environment: live or test.';

COMMENT ON COLUMN farebox.unpriced_usage.paid_by IS 'Who the provider bills: operator, tenant, caller.';

COMMENT ON COLUMN farebox.unpriced_usage.upstream IS 'The configured name.';

COMMENT ON COLUMN farebox.unpriced_usage.provider IS 'The vendor.';

COMMENT ON COLUMN farebox.unpriced_usage.endpoint IS 'The kind of call.';

COMMENT ON COLUMN farebox.unpriced_usage.model_requested IS 'The model asked for.';

COMMENT ON COLUMN farebox.unpriced_usage.model IS 'The model billed.';

COMMENT ON COLUMN farebox.unpriced_usage.pricing IS 'priced, partial, unpriced, unknown, free or repeat; speaks of billed_usd.';

COMMENT ON COLUMN farebox.unpriced_usage.ending IS 'How the answer ended.';

COMMENT ON COLUMN farebox.unpriced_usage.usage_source IS 'How the quantities are known.';

COMMENT ON COLUMN farebox.unpriced_usage.usage_reason IS 'Why they are not reported.';

COMMENT ON COLUMN farebox.unpriced_usage.lines IS 'What pricing reads: [{model, conditions, usage}].';

COMMENT ON COLUMN farebox.unpriced_usage.usage IS 'The lines'' sum, exact decimals as strings by meter.';

COMMENT ON COLUMN farebox.unpriced_usage.usage_low IS 'Lower bounds by meter when not reported.';

COMMENT ON COLUMN farebox.unpriced_usage.usage_high IS 'Upper bounds by meter when not reported.';

COMMENT ON COLUMN farebox.unpriced_usage.billed_usd IS 'What the operator charges the tenant; null: unpriced.';

COMMENT ON COLUMN farebox.unpriced_usage.response_id IS 'The id in the answer''s body.';

CREATE TABLE farebox_private.daily_sums (
    day date NOT NULL,
    period date NOT NULL,
    tenant_id text,
    customer_id text,
    project text,
    key_id uuid,
    environment text NOT NULL,
    paid_by text NOT NULL,
    provider text NOT NULL,
    endpoint text NOT NULL,
    model text,
    pricing text NOT NULL,
    meter text NOT NULL,
    quantity numeric DEFAULT 0 NOT NULL,
    cost_usd farebox_private.usd DEFAULT 0 NOT NULL,
    billed_usd farebox_private.usd DEFAULT 0 NOT NULL,
    events bigint DEFAULT 0 NOT NULL,
    unpriced_events bigint DEFAULT 0 NOT NULL,
    utc_day date NOT NULL
)
WITH (fillfactor='50');

ALTER TABLE ONLY farebox_private.daily_sums FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.daily_sums IS 'Sums of the ledger by tenant-local day, but for what is in new_sums; can be rebuilt from usage_events and adjustments.';

COMMENT ON COLUMN farebox_private.daily_sums.day IS 'The day in the tenant''s zone at ingest.';

COMMENT ON COLUMN farebox_private.daily_sums.period IS 'Month it is invoiced in, by its first day.';

COMMENT ON COLUMN farebox_private.daily_sums.tenant_id IS 'The tenant; null: unattributed.';

COMMENT ON COLUMN farebox_private.daily_sums.customer_id IS 'The tenant''s end customer.';

COMMENT ON COLUMN farebox_private.daily_sums.project IS 'A project of the tenant.';

COMMENT ON COLUMN farebox_private.daily_sums.key_id IS 'The virtual key.';

COMMENT ON COLUMN farebox_private.daily_sums.environment IS 'live or test.';

COMMENT ON COLUMN farebox_private.daily_sums.paid_by IS 'Who the provider bills: operator, tenant, caller.';

COMMENT ON COLUMN farebox_private.daily_sums.provider IS 'The vendor.';

COMMENT ON COLUMN farebox_private.daily_sums.endpoint IS 'The kind of call.';

COMMENT ON COLUMN farebox_private.daily_sums.model IS 'The model of the line; of the event on the row of the meter calls.';

COMMENT ON COLUMN farebox_private.daily_sums.pricing IS 'How far the events are priced.';

COMMENT ON COLUMN farebox_private.daily_sums.meter IS 'What is counted; calls is a meter of the roll-ups only.';

COMMENT ON COLUMN farebox_private.daily_sums.quantity IS 'Sum of the meter.';

COMMENT ON COLUMN farebox_private.daily_sums.cost_usd IS 'What the provider charges, as far as priced.';

COMMENT ON COLUMN farebox_private.daily_sums.billed_usd IS 'What the operator charges, as far as priced.';

COMMENT ON COLUMN farebox_private.daily_sums.events IS 'Events, on the row of the meter calls; 0 elsewhere.';

COMMENT ON COLUMN farebox_private.daily_sums.unpriced_events IS 'Events with pricing unpriced or partial, on the row of the meter calls; 0 elsewhere.';

COMMENT ON COLUMN farebox_private.daily_sums.utc_day IS 'The day in UTC: of the events of a day in the tenant''s zone, those of this one.';

CREATE TABLE farebox_private.new_sums (
    hour timestamp with time zone NOT NULL,
    day date NOT NULL,
    period date NOT NULL,
    tenant_id text,
    customer_id text,
    project text,
    key_id uuid,
    environment text NOT NULL,
    paid_by text NOT NULL,
    provider text NOT NULL,
    endpoint text NOT NULL,
    pricing text NOT NULL,
    models text[] NOT NULL,
    meters text[] NOT NULL,
    quantities numeric[] NOT NULL,
    costs_usd numeric[] NOT NULL,
    billed_usd numeric[] NOT NULL,
    events bigint[] NOT NULL,
    unpriced_events bigint[] NOT NULL
)
PARTITION BY LIST (environment);

ALTER TABLE ONLY farebox_private.new_sums FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.new_sums IS 'What batches add to hourly_sums and daily_sums, until it is merged into them; a row has the meters of one hour, day and set of dimensions, one after the other.';

COMMENT ON COLUMN farebox_private.new_sums.hour IS 'The hour''s begin, UTC.';

COMMENT ON COLUMN farebox_private.new_sums.day IS 'The day in the tenant''s zone at ingest.';

COMMENT ON COLUMN farebox_private.new_sums.period IS 'Month it is invoiced in, by its first day.';

COMMENT ON COLUMN farebox_private.new_sums.tenant_id IS 'The tenant; null: unattributed.';

COMMENT ON COLUMN farebox_private.new_sums.customer_id IS 'The tenant''s end customer.';

COMMENT ON COLUMN farebox_private.new_sums.project IS 'A project of the tenant.';

COMMENT ON COLUMN farebox_private.new_sums.key_id IS 'The virtual key.';

COMMENT ON COLUMN farebox_private.new_sums.environment IS 'live or test.';

COMMENT ON COLUMN farebox_private.new_sums.paid_by IS 'Who the provider bills: operator, tenant, caller.';

COMMENT ON COLUMN farebox_private.new_sums.provider IS 'The vendor.';

COMMENT ON COLUMN farebox_private.new_sums.endpoint IS 'The kind of call.';

COMMENT ON COLUMN farebox_private.new_sums.pricing IS 'How far the events are priced.';

COMMENT ON COLUMN farebox_private.new_sums.models IS 'The model of each line; of the events where the meter is calls.';

COMMENT ON COLUMN farebox_private.new_sums.meters IS 'What is counted.';

COMMENT ON COLUMN farebox_private.new_sums.quantities IS 'Sum of each meter.';

COMMENT ON COLUMN farebox_private.new_sums.costs_usd IS 'What the provider charges for each, as far as priced.';

COMMENT ON COLUMN farebox_private.new_sums.billed_usd IS 'What the operator charges for each, as far as priced.';

COMMENT ON COLUMN farebox_private.new_sums.events IS 'Events, where the meter is calls; 0 elsewhere.';

COMMENT ON COLUMN farebox_private.new_sums.unpriced_events IS 'Events with pricing unpriced or partial, where the meter is calls; 0 elsewhere.';

CREATE VIEW farebox_private.usage_daily AS
 SELECT daily_sums.day,
    daily_sums.period,
    daily_sums.tenant_id,
    daily_sums.customer_id,
    daily_sums.project,
    daily_sums.key_id,
    daily_sums.environment,
    daily_sums.paid_by,
    daily_sums.provider,
    daily_sums.endpoint,
    daily_sums.model,
    daily_sums.pricing,
    daily_sums.meter,
    daily_sums.quantity,
    daily_sums.cost_usd,
    daily_sums.billed_usd,
    daily_sums.events,
    daily_sums.unpriced_events,
    daily_sums.utc_day
   FROM farebox_private.daily_sums
UNION ALL
 SELECT added.day,
    added.period,
    added.tenant_id,
    added.customer_id,
    added.project,
    added.key_id,
    added.environment,
    added.paid_by,
    added.provider,
    added.endpoint,
    part.model,
    added.pricing,
    part.meter,
    part.quantity,
    (part.cost_usd)::farebox_private.usd AS cost_usd,
    (part.billed_usd)::farebox_private.usd AS billed_usd,
    part.events,
    part.unpriced_events,
    ((added.hour AT TIME ZONE 'UTC'::text))::date AS utc_day
   FROM (farebox_private.new_sums added
     CROSS JOIN LATERAL UNNEST(added.models, added.meters, added.quantities, added.costs_usd, added.billed_usd, added.events, added.unpriced_events) part(model, meter, quantity, cost_usd, billed_usd, events, unpriced_events));

COMMENT ON VIEW farebox_private.usage_daily IS 'Sums of the ledger by tenant-local day. What is not merged yet has rows of its own.';

COMMENT ON COLUMN farebox_private.usage_daily.day IS 'The day in the tenant''s zone at ingest.';

COMMENT ON COLUMN farebox_private.usage_daily.period IS 'Month it is invoiced in, by its first day.';

COMMENT ON COLUMN farebox_private.usage_daily.tenant_id IS 'The tenant; null: unattributed.';

COMMENT ON COLUMN farebox_private.usage_daily.customer_id IS 'The tenant''s end customer.';

COMMENT ON COLUMN farebox_private.usage_daily.project IS 'A project of the tenant.';

COMMENT ON COLUMN farebox_private.usage_daily.key_id IS 'The virtual key.';

COMMENT ON COLUMN farebox_private.usage_daily.environment IS 'live or test.';

COMMENT ON COLUMN farebox_private.usage_daily.paid_by IS 'Who the provider bills: operator, tenant, caller.';

COMMENT ON COLUMN farebox_private.usage_daily.provider IS 'The vendor.';

COMMENT ON COLUMN farebox_private.usage_daily.endpoint IS 'The kind of call.';

COMMENT ON COLUMN farebox_private.usage_daily.model IS 'The model of the line; of the event on the row of the meter calls.';

COMMENT ON COLUMN farebox_private.usage_daily.pricing IS 'How far the events are priced.';

COMMENT ON COLUMN farebox_private.usage_daily.meter IS 'What is counted; calls is a meter of the roll-ups only.';

COMMENT ON COLUMN farebox_private.usage_daily.quantity IS 'Sum of the meter.';

COMMENT ON COLUMN farebox_private.usage_daily.cost_usd IS 'What the provider charges, as far as priced.';

COMMENT ON COLUMN farebox_private.usage_daily.billed_usd IS 'What the operator charges, as far as priced.';

COMMENT ON COLUMN farebox_private.usage_daily.events IS 'Events, on the row of the meter calls; 0 elsewhere.';

COMMENT ON COLUMN farebox_private.usage_daily.unpriced_events IS 'Events with pricing unpriced or partial, on the row of the meter calls; 0 elsewhere.';

COMMENT ON COLUMN farebox_private.usage_daily.utc_day IS 'The day in UTC: of the events of a day in the tenant''s zone, those of this one.';

CREATE VIEW farebox.usage_daily AS
 SELECT sums.day,
    sums.period,
    sums.tenant_id,
    COALESCE(customers.customer_id, sums.customer_id) AS customer_id,
    sums.project,
    sums.key_id,
    sums.environment,
    sums.paid_by,
    sums.provider,
    sums.endpoint,
    sums.model,
    sums.pricing,
    sums.meter,
    sums.quantity,
        CASE
            WHEN (( SELECT farebox_private.sees_all() AS sees_all) OR (sums.paid_by <> 'operator'::text)) THEN (sums.cost_usd)::numeric
            ELSE NULL::numeric
        END AS cost_usd,
    sums.billed_usd,
    sums.events,
    sums.unpriced_events,
    sums.utc_day
   FROM (farebox_private.usage_daily sums
     LEFT JOIN farebox_private.customers ON (((customers.tenant_id = sums.tenant_id) AND (customers.reference = sums.customer_id))));

COMMENT ON VIEW farebox.usage_daily IS 'Usage and money by tenant-local day, meter and dimension; adjustments included. A day of another zone than UTC has two rows, one for each day of UTC in it.';

COMMENT ON COLUMN farebox.usage_daily.day IS 'The day in the tenant''s zone at ingest.';

COMMENT ON COLUMN farebox.usage_daily.period IS 'Month it is invoiced in, by its first day.';

COMMENT ON COLUMN farebox.usage_daily.tenant_id IS 'The tenant; null: unattributed.';

COMMENT ON COLUMN farebox.usage_daily.customer_id IS 'The tenant''s end customer.';

COMMENT ON COLUMN farebox.usage_daily.project IS 'A project of the tenant.';

COMMENT ON COLUMN farebox.usage_daily.key_id IS 'The virtual key.';

COMMENT ON COLUMN farebox.usage_daily.environment IS 'live or test.';

COMMENT ON COLUMN farebox.usage_daily.paid_by IS 'Who the provider bills: operator, tenant, caller.';

COMMENT ON COLUMN farebox.usage_daily.provider IS 'The vendor.';

COMMENT ON COLUMN farebox.usage_daily.endpoint IS 'The kind of call.';

COMMENT ON COLUMN farebox.usage_daily.model IS 'The model of the line; of the event on the row of the meter calls.';

COMMENT ON COLUMN farebox.usage_daily.pricing IS 'How far the events are priced.';

COMMENT ON COLUMN farebox.usage_daily.meter IS 'What is counted; calls is a meter of the roll-ups only.';

COMMENT ON COLUMN farebox.usage_daily.quantity IS 'Sum of the meter.';

COMMENT ON COLUMN farebox.usage_daily.cost_usd IS 'What the provider charges, as far as priced. Null for tenants where the operator pays.';

COMMENT ON COLUMN farebox.usage_daily.billed_usd IS 'What the operator charges, as far as priced.';

COMMENT ON COLUMN farebox.usage_daily.events IS 'Events, on the row of the meter calls; 0 elsewhere.';

COMMENT ON COLUMN farebox.usage_daily.unpriced_events IS 'Events with pricing unpriced or partial, on the row of the meter calls; 0 elsewhere.';

COMMENT ON COLUMN farebox.usage_daily.utc_day IS 'The day in UTC: whole days of UTC over all tenants are summed by it.';

CREATE FUNCTION farebox.invoice_preview(tenant text, month date) RETURNS TABLE(line bigint, kind text, provider text, model text, meter text, quantity numeric, billed_usd numeric, unpriced_events bigint, quantity_low numeric, quantity_high numeric, corrects date, text text)
    LANGUAGE sql STABLE
    BEGIN ATOMIC
 WITH RECURSIVE daily AS (
          SELECT usage_daily.day,
             usage_daily.period,
             usage_daily.tenant_id,
             usage_daily.customer_id,
             usage_daily.project,
             usage_daily.key_id,
             usage_daily.environment,
             usage_daily.paid_by,
             usage_daily.provider,
             usage_daily.endpoint,
             usage_daily.model,
             usage_daily.pricing,
             usage_daily.meter,
             usage_daily.quantity,
             usage_daily.cost_usd,
             usage_daily.billed_usd,
             usage_daily.events,
             usage_daily.unpriced_events,
             usage_daily.utc_day
            FROM farebox.usage_daily
           WHERE ((usage_daily.tenant_id = invoice_preview.tenant) AND (usage_daily.period = (date_trunc('month'::text, (invoice_preview.month)::timestamp with time zone))::date) AND (usage_daily.environment = 'live'::text))
         ), corrected AS (
          SELECT adjustments.adjustment_id,
             adjustments.event_id,
             adjustments.kind,
             adjustments.actor,
             adjustments.reason,
             adjustments.old_revision,
             adjustments.new_revision,
             adjustments.booked_at,
             adjustments.started_at,
             adjustments.day,
             adjustments.period,
             adjustments.tenant_id,
             adjustments.customer_id,
             adjustments.project,
             adjustments.key_id,
             adjustments.environment,
             adjustments.paid_by,
             adjustments.provider,
             adjustments.endpoint,
             adjustments.model,
             adjustments.pricing,
             adjustments.meter,
             adjustments.quantity,
             adjustments.cost_usd,
             adjustments.billed_usd,
             adjustments.batch_id,
             adjustments.event_period,
             adjustments.events,
             adjustments.unpriced_events
            FROM farebox.adjustments
           WHERE ((adjustments.tenant_id = invoice_preview.tenant) AND (adjustments.period = (date_trunc('month'::text, (invoice_preview.month)::timestamp with time zone))::date) AND (adjustments.environment = 'live'::text) AND (adjustments.event_period < adjustments.period) AND (adjustments.meter <> 'calls'::text) AND (adjustments.pricing <> 'unpriced'::text))
         ), priced AS (
          SELECT daily.provider,
             daily.model,
             daily.meter,
             daily.quantity,
             (daily.billed_usd)::numeric AS billed_usd
            FROM daily
           WHERE ((daily.meter <> 'calls'::text) AND (daily.pricing <> 'unpriced'::text))
         UNION ALL
          SELECT corrected.provider,
             corrected.model,
             corrected.meter,
             (- corrected.quantity),
             (- (corrected.billed_usd)::numeric)
            FROM corrected
         ), used AS (
          SELECT priced.provider,
             priced.model,
             priced.meter,
             sum(priced.quantity) AS quantity,
             sum(priced.billed_usd) AS billed_usd
            FROM priced
           GROUP BY priced.provider, priced.model, priced.meter
         ), included AS (
          SELECT row_number() OVER (ORDER BY allowances.allowance) AS turn,
             allowances.allowance,
             allowances.provider,
             allowances.model,
             allowances.meters,
             allowances.usd,
             allowances.quantity
            FROM farebox.allowances
           WHERE ((allowances.tenant_id = invoice_preview.tenant) AND COALESCE((allowances.valid_from <= (date_trunc('month'::text, (invoice_preview.month)::timestamp with time zone))::date), true) AND COALESCE((allowances.valid_to > (date_trunc('month'::text, (invoice_preview.month)::timestamp with time zone))::date), true))
         ), remaining AS (
          SELECT (0)::bigint AS turn,
             used.provider,
             used.model,
             used.meter,
             used.billed_usd,
             used.quantity,
             (0)::numeric AS off_usd,
             (0)::numeric AS off_quantity
            FROM used
           WHERE ((used.billed_usd >= (0)::numeric) AND (used.quantity >= (0)::numeric))
         UNION ALL
          SELECT reached.turn,
             reached.provider,
             reached.model,
             reached.meter,
             (reached.billed_usd - off.usd),
             (reached.quantity - off_with.quantity),
             off.usd,
             off_with.quantity
            FROM ((( SELECT included.turn,
                     remaining.provider,
                     remaining.model,
                     remaining.meter,
                     remaining.billed_usd,
                     remaining.quantity,
                     included.usd AS included_usd,
                     scope.usd,
                     scope.quantity AS units,
                     sum(scope.usd) OVER up_to_it AS usd_up_to_it,
                     sum(scope.quantity) OVER up_to_it AS units_up_to_it,
                     sum(scope.quantity) OVER () AS units_of_all,
                     LEAST(included.quantity, sum(scope.quantity) OVER ()) AS units_off
                    FROM ((remaining
                      JOIN included ON ((included.turn = (remaining.turn + 1))))
                      CROSS JOIN LATERAL ( SELECT
                                 CASE
                                     WHEN scoped.is_in_it THEN remaining.billed_usd
                                     ELSE (0)::numeric
                                 END AS usd,
                                 CASE
                                     WHEN scoped.is_in_it THEN remaining.quantity
                                     ELSE (0)::numeric
                                 END AS quantity
                            FROM ( SELECT (((included.provider IS NULL) OR (included.provider = remaining.provider)) AND ((included.model IS NULL) OR (included.model = remaining.model)) AND ((included.meters IS NULL) OR (remaining.meter = ANY (included.meters)))) AS is_in_it) scoped) scope)
                   WINDOW up_to_it AS (ORDER BY remaining.provider, remaining.model, remaining.meter ROWS UNBOUNDED PRECEDING)) reached
              CROSS JOIN LATERAL ( SELECT
                         CASE
                             WHEN (reached.included_usd IS NOT NULL) THEN (LEAST((reached.included_usd)::numeric, reached.usd_up_to_it) - LEAST((reached.included_usd)::numeric, (reached.usd_up_to_it - reached.usd)))
                             WHEN (reached.units_of_all > (0)::numeric) THEN (0.000000000001 * (div(((('2000000000000'::numeric * reached.usd_up_to_it) * reached.units_off) + reached.units_of_all), ((2)::numeric * reached.units_of_all)) - div(((('2000000000000'::numeric * (reached.usd_up_to_it - reached.usd)) * reached.units_off) + reached.units_of_all), ((2)::numeric * reached.units_of_all))))
                             ELSE (0)::numeric
                         END AS usd) off)
              CROSS JOIN LATERAL ( SELECT
                         CASE
                             WHEN ((reached.included_usd IS NOT NULL) AND (reached.usd > (0)::numeric)) THEN (0.000000000000000001 * div(((('2000000000000000000'::numeric * reached.units) * off.usd) + reached.usd), ((2)::numeric * reached.usd)))
                             WHEN ((reached.included_usd IS NULL) AND (reached.units_of_all > (0)::numeric)) THEN (0.000000000000000001 * (div(((('2000000000000000000'::numeric * reached.units_up_to_it) * reached.units_off) + reached.units_of_all), ((2)::numeric * reached.units_of_all)) - div(((('2000000000000000000'::numeric * (reached.units_up_to_it - reached.units)) * reached.units_off) + reached.units_of_all), ((2)::numeric * reached.units_of_all))))
                             ELSE (0)::numeric
                         END AS quantity) off_with)
         ), allowed AS (
          SELECT included.allowance,
             included.provider,
             included.model,
                 CASE
                     WHEN (included.quantity IS NOT NULL) THEN sum(remaining.off_quantity)
                     ELSE NULL::numeric
                 END AS off_quantity,
             sum(remaining.off_usd) AS off_usd
            FROM (included
              JOIN remaining ON ((remaining.turn = included.turn)))
           GROUP BY included.allowance, included.provider, included.model, included.quantity
         ), lines AS (
          SELECT 1 AS place,
             'usage'::text AS kind,
             NULL::date AS corrects,
             used.provider,
             used.model,
             used.meter,
             used.quantity,
             used.billed_usd,
             (0)::bigint AS unpriced_events,
             NULL::numeric AS quantity_low,
             NULL::numeric AS quantity_high,
             NULL::text AS text
            FROM used
         UNION ALL
          SELECT 2,
             'allowance'::text,
             NULL::date,
             allowed.provider,
             allowed.model,
             NULL::text,
             (- allowed.off_quantity),
             (- allowed.off_usd),
             0,
             NULL::numeric,
             NULL::numeric,
             ('included: '::text || allowed.allowance)
            FROM allowed
           WHERE (allowed.off_usd > (0)::numeric)
         UNION ALL
          SELECT 3,
                 CASE
                     WHEN (sum((corrected.billed_usd)::numeric) < (0)::numeric) THEN 'credit'::text
                     ELSE 'debit'::text
                 END AS "case",
             corrected.event_period,
             corrected.provider,
             corrected.model,
             corrected.meter,
             sum(corrected.quantity) AS sum,
             sum((corrected.billed_usd)::numeric) AS sum,
             0,
             NULL::numeric,
             NULL::numeric,
             ((('correction of '::text || to_char((corrected.event_period)::timestamp with time zone, 'YYYY-MM'::text)) || ': '::text) || string_agg(DISTINCT corrected.reason, '; '::text))
            FROM corrected
           GROUP BY corrected.event_period, corrected.provider, corrected.model, corrected.meter
         UNION ALL
          SELECT 4,
             'unpriced'::text,
             NULL::date,
             daily.provider,
             daily.model,
             daily.meter,
             sum(daily.quantity) AS sum,
             NULL::numeric,
             (sum(daily.unpriced_events))::bigint AS sum,
             NULL::numeric,
             NULL::numeric,
             NULL::text
            FROM daily
           WHERE ((daily.pricing = 'unpriced'::text) OR ((daily.meter = 'calls'::text) AND (daily.pricing = 'partial'::text)))
           GROUP BY daily.provider, daily.model, daily.meter
         UNION ALL
          SELECT 5,
             'unknown'::text,
             NULL::date,
             unknown.provider,
             COALESCE(unknown.model, unknown.model_requested) AS "coalesce",
             COALESCE(bounds.meter, 'calls'::text) AS "coalesce",
                 CASE
                     WHEN (bounds.meter IS NULL) THEN count(*)
                     ELSE NULL::bigint
                 END AS "case",
             NULL::numeric,
             0,
             sum(bounds.low) AS sum,
             sum(bounds.high) AS sum,
             NULL::text
            FROM (farebox.unpriced_usage unknown
              LEFT JOIN LATERAL ( SELECT meters.meter,
                     ((unknown.usage_low ->> meters.meter))::numeric AS low,
                     ((unknown.usage_high ->> meters.meter))::numeric AS high
                    FROM jsonb_object_keys((COALESCE(unknown.usage_low, '{}'::jsonb) || COALESCE(unknown.usage_high, '{}'::jsonb))) meters(meter)) bounds ON (true))
           WHERE ((unknown.tenant_id = invoice_preview.tenant) AND (unknown.period = (date_trunc('month'::text, (invoice_preview.month)::timestamp with time zone))::date) AND (unknown.environment = 'live'::text) AND (unknown.pricing = 'unknown'::text))
           GROUP BY unknown.provider, COALESCE(unknown.model, unknown.model_requested), bounds.meter
         )
  SELECT row_number() OVER (ORDER BY lines.place, lines.corrects, lines.provider, lines.model, lines.meter, lines.kind, lines.text) AS row_number,
     lines.kind,
     lines.provider,
     lines.model,
     lines.meter,
     trim_scale(lines.quantity) AS trim_scale,
     trim_scale(lines.billed_usd) AS trim_scale,
     lines.unpriced_events,
     trim_scale(lines.quantity_low) AS trim_scale,
     trim_scale(lines.quantity_high) AS trim_scale,
     lines.corrects,
     lines.text
    FROM lines
   WHERE ((lines.place = 5) OR (lines.quantity <> (0)::numeric) OR (lines.billed_usd <> (0)::numeric) OR (lines.unpriced_events <> 0))
   ORDER BY (row_number() OVER (ORDER BY lines.place, lines.corrects, lines.provider, lines.model, lines.meter, lines.kind, lines.text));
END;

COMMENT ON FUNCTION farebox.invoice_preview(tenant text, month date) IS 'The lines of a tenant''s invoice for a month as it stands: kind usage by provider, model and meter, kind allowance for what is included (what is left of the sum is the overage), kind credit and debit for corrections of earlier months (billed_usd of these sums to the invoice), kind unpriced (no rate yet; blocks the close), kind unknown (no usage known, with bounds). Tenants see their own.';

CREATE FUNCTION farebox_private.first_event_id(at timestamp with time zone) RETURNS uuid
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((lpad(to_hex(((EXTRACT(epoch FROM at) * (1000)::numeric))::bigint), 12, '0'::text) || repeat('0'::text, 20)))::uuid;

COMMENT ON FUNCTION farebox_private.first_event_id(at timestamp with time zone) IS 'The lowest id an event of this millisecond or later can have.';

CREATE FUNCTION farebox_private.ledger_parts(from_day date, to_day date) RETURNS TABLE(hour timestamp with time zone, day date, period date, tenant_id text, customer_id text, project text, key_id uuid, environment text, paid_by text, provider text, endpoint text, model text, pricing text, meter text, quantity numeric, cost_usd numeric, billed_usd numeric, events bigint, unpriced_events bigint)
    LANGUAGE sql STABLE
    BEGIN ATOMIC
 SELECT date_trunc('hour'::text, booked.started_at, 'UTC'::text) AS date_trunc,
     booked.day,
     booked.period,
     booked.tenant_id,
     booked.customer_id,
     booked.project,
     booked.key_id,
     booked.environment,
     booked.paid_by,
     booked.provider,
     booked.endpoint,
     part.model,
     booked.pricing,
     part.meter,
     part.quantity,
     part.cost_usd,
     part.billed_usd,
     part.events,
     part.unpriced_events
    FROM (farebox_private.usage_events booked
      CROSS JOIN LATERAL ( SELECT booked.model,
             'calls'::text AS meter,
             ((((booked.attempt = 1) AND (booked.part = 1)))::integer)::numeric AS quantity,
             (0)::numeric AS cost_usd,
             (0)::numeric AS billed_usd,
             (1)::bigint AS events,
             (((booked.pricing = ANY (ARRAY['unpriced'::text, 'partial'::text])))::integer)::bigint AS unpriced_events
         UNION ALL
          SELECT (line.value ->> 'model'::text),
             counted.meter,
             (counted.quantity)::numeric AS quantity,
             0,
             0,
             0,
             0
            FROM (jsonb_array_elements((booked.lines)::jsonb) line(value)
              CROSS JOIN LATERAL jsonb_each_text((line.value -> 'usage'::text)) counted(meter, quantity))
           WHERE (booked.pricing <> 'repeat'::text)
         UNION ALL
          SELECT (charge.value ->> 0),
             (charge.value ->> 1),
             0,
             COALESCE(((charge.value ->> 5))::numeric, (0)::numeric) AS "coalesce",
             COALESCE(((charge.value ->> 6))::numeric, (0)::numeric) AS "coalesce",
             0,
             0
            FROM jsonb_array_elements((booked.charges)::jsonb) charge(value)) part)
   WHERE ((booked.event_id >= farebox_private.first_event_id((((ledger_parts.from_day - 2))::timestamp without time zone AT TIME ZONE 'UTC'::text))) AND (booked.event_id < farebox_private.first_event_id((((ledger_parts.to_day + 2))::timestamp without time zone AT TIME ZONE 'UTC'::text))) AND (booked.started_at >= (((ledger_parts.from_day - 2))::timestamp without time zone AT TIME ZONE 'UTC'::text)) AND (booked.started_at < (((ledger_parts.to_day + 2))::timestamp without time zone AT TIME ZONE 'UTC'::text)))
 UNION ALL
  SELECT date_trunc('hour'::text, adjusted.started_at, 'UTC'::text) AS date_trunc,
     adjusted.day,
     adjusted.period,
     adjusted.tenant_id,
     adjusted.customer_id,
     adjusted.project,
     adjusted.key_id,
     adjusted.environment,
     adjusted.paid_by,
     adjusted.provider,
     adjusted.endpoint,
     adjusted.model,
     adjusted.pricing,
     adjusted.meter,
     adjusted.quantity,
     adjusted.cost_usd,
     adjusted.billed_usd,
     adjusted.events,
     adjusted.unpriced_events
    FROM farebox_private.adjustments adjusted
   WHERE ((adjusted.started_at >= (((ledger_parts.from_day - 2))::timestamp without time zone AT TIME ZONE 'UTC'::text)) AND (adjusted.started_at < (((ledger_parts.to_day + 2))::timestamp without time zone AT TIME ZONE 'UTC'::text)));
END;

COMMENT ON FUNCTION farebox_private.ledger_parts(from_day date, to_day date) IS 'What each event and adjustment around these days adds to the sums, not added up.';

CREATE TABLE farebox_private.hourly_sums (
    hour timestamp with time zone NOT NULL,
    period date NOT NULL,
    tenant_id text,
    customer_id text,
    project text,
    key_id uuid,
    environment text NOT NULL,
    paid_by text NOT NULL,
    provider text NOT NULL,
    endpoint text NOT NULL,
    model text,
    pricing text NOT NULL,
    meter text NOT NULL,
    quantity numeric DEFAULT 0 NOT NULL,
    cost_usd farebox_private.usd DEFAULT 0 NOT NULL,
    billed_usd farebox_private.usd DEFAULT 0 NOT NULL,
    events bigint DEFAULT 0 NOT NULL,
    unpriced_events bigint DEFAULT 0 NOT NULL
)
WITH (fillfactor='50');

ALTER TABLE ONLY farebox_private.hourly_sums FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.hourly_sums IS 'Sums of the ledger by UTC hour, but for what is in new_sums; can be rebuilt from usage_events and adjustments.';

COMMENT ON COLUMN farebox_private.hourly_sums.hour IS 'The hour''s begin, UTC.';

COMMENT ON COLUMN farebox_private.hourly_sums.period IS 'Month it is invoiced in, by its first day.';

COMMENT ON COLUMN farebox_private.hourly_sums.tenant_id IS 'The tenant; null: unattributed.';

COMMENT ON COLUMN farebox_private.hourly_sums.customer_id IS 'The tenant''s end customer.';

COMMENT ON COLUMN farebox_private.hourly_sums.project IS 'A project of the tenant.';

COMMENT ON COLUMN farebox_private.hourly_sums.key_id IS 'The virtual key.';

COMMENT ON COLUMN farebox_private.hourly_sums.environment IS 'live or test.';

COMMENT ON COLUMN farebox_private.hourly_sums.paid_by IS 'Who the provider bills: operator, tenant, caller.';

COMMENT ON COLUMN farebox_private.hourly_sums.provider IS 'The vendor.';

COMMENT ON COLUMN farebox_private.hourly_sums.endpoint IS 'The kind of call.';

COMMENT ON COLUMN farebox_private.hourly_sums.model IS 'The model of the line; of the event on the row of the meter calls.';

COMMENT ON COLUMN farebox_private.hourly_sums.pricing IS 'How far the events are priced.';

COMMENT ON COLUMN farebox_private.hourly_sums.meter IS 'What is counted; calls is a meter of the roll-ups only.';

COMMENT ON COLUMN farebox_private.hourly_sums.quantity IS 'Sum of the meter.';

COMMENT ON COLUMN farebox_private.hourly_sums.cost_usd IS 'What the provider charges, as far as priced.';

COMMENT ON COLUMN farebox_private.hourly_sums.billed_usd IS 'What the operator charges, as far as priced.';

COMMENT ON COLUMN farebox_private.hourly_sums.events IS 'Events, on the row of the meter calls; 0 elsewhere.';

COMMENT ON COLUMN farebox_private.hourly_sums.unpriced_events IS 'Events with pricing unpriced or partial, on the row of the meter calls; 0 elsewhere.';

CREATE TABLE farebox_private.total_sums (
    day date NOT NULL,
    utc_day date NOT NULL,
    period date NOT NULL,
    tenant_id text,
    environment text NOT NULL,
    paid_by text NOT NULL,
    provider text NOT NULL,
    endpoint text NOT NULL,
    model text,
    pricing text NOT NULL,
    meter text NOT NULL,
    quantity numeric DEFAULT 0 NOT NULL,
    cost_usd farebox_private.usd DEFAULT 0 NOT NULL,
    billed_usd farebox_private.usd DEFAULT 0 NOT NULL,
    events bigint DEFAULT 0 NOT NULL,
    unpriced_events bigint DEFAULT 0 NOT NULL
)
WITH (fillfactor='50');

ALTER TABLE ONLY farebox_private.total_sums FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.total_sums IS 'The sums of daily_sums over all customers, projects and keys.';

COMMENT ON COLUMN farebox_private.total_sums.day IS 'The day in the tenant''s zone at ingest.';

COMMENT ON COLUMN farebox_private.total_sums.utc_day IS 'The day in UTC: of the events of a day in the tenant''s zone, those of this one.';

COMMENT ON COLUMN farebox_private.total_sums.period IS 'Month it is invoiced in, by its first day.';

COMMENT ON COLUMN farebox_private.total_sums.tenant_id IS 'The tenant; null: unattributed.';

COMMENT ON COLUMN farebox_private.total_sums.environment IS 'live or test.';

COMMENT ON COLUMN farebox_private.total_sums.paid_by IS 'Who the provider bills: operator, tenant, caller.';

COMMENT ON COLUMN farebox_private.total_sums.provider IS 'The vendor.';

COMMENT ON COLUMN farebox_private.total_sums.endpoint IS 'The kind of call.';

COMMENT ON COLUMN farebox_private.total_sums.model IS 'The model of the line; of the event on the row of the meter calls.';

COMMENT ON COLUMN farebox_private.total_sums.pricing IS 'How far the events are priced.';

COMMENT ON COLUMN farebox_private.total_sums.meter IS 'What is counted; calls is a meter of the roll-ups only.';

COMMENT ON COLUMN farebox_private.total_sums.quantity IS 'Sum of the meter.';

COMMENT ON COLUMN farebox_private.total_sums.cost_usd IS 'What the provider charges, as far as priced.';

COMMENT ON COLUMN farebox_private.total_sums.billed_usd IS 'What the operator charges, as far as priced.';

COMMENT ON COLUMN farebox_private.total_sums.events IS 'Events, on the row of the meter calls; 0 elsewhere.';

COMMENT ON COLUMN farebox_private.total_sums.unpriced_events IS 'Events with pricing unpriced or partial, on the row of the meter calls; 0 elsewhere.';

CREATE VIEW farebox_private.usage_hourly AS
 SELECT hourly_sums.hour,
    hourly_sums.period,
    hourly_sums.tenant_id,
    hourly_sums.customer_id,
    hourly_sums.project,
    hourly_sums.key_id,
    hourly_sums.environment,
    hourly_sums.paid_by,
    hourly_sums.provider,
    hourly_sums.endpoint,
    hourly_sums.model,
    hourly_sums.pricing,
    hourly_sums.meter,
    hourly_sums.quantity,
    hourly_sums.cost_usd,
    hourly_sums.billed_usd,
    hourly_sums.events,
    hourly_sums.unpriced_events
   FROM farebox_private.hourly_sums
UNION ALL
 SELECT added.hour,
    added.period,
    added.tenant_id,
    added.customer_id,
    added.project,
    added.key_id,
    added.environment,
    added.paid_by,
    added.provider,
    added.endpoint,
    part.model,
    added.pricing,
    part.meter,
    part.quantity,
    (part.cost_usd)::farebox_private.usd AS cost_usd,
    (part.billed_usd)::farebox_private.usd AS billed_usd,
    part.events,
    part.unpriced_events
   FROM (farebox_private.new_sums added
     CROSS JOIN LATERAL UNNEST(added.models, added.meters, added.quantities, added.costs_usd, added.billed_usd, added.events, added.unpriced_events) part(model, meter, quantity, cost_usd, billed_usd, events, unpriced_events));

COMMENT ON VIEW farebox_private.usage_hourly IS 'Sums of the ledger by UTC hour. What is not merged yet has rows of its own.';

COMMENT ON COLUMN farebox_private.usage_hourly.hour IS 'The hour''s begin, UTC.';

COMMENT ON COLUMN farebox_private.usage_hourly.period IS 'Month it is invoiced in, by its first day.';

COMMENT ON COLUMN farebox_private.usage_hourly.tenant_id IS 'The tenant; null: unattributed.';

COMMENT ON COLUMN farebox_private.usage_hourly.customer_id IS 'The tenant''s end customer.';

COMMENT ON COLUMN farebox_private.usage_hourly.project IS 'A project of the tenant.';

COMMENT ON COLUMN farebox_private.usage_hourly.key_id IS 'The virtual key.';

COMMENT ON COLUMN farebox_private.usage_hourly.environment IS 'live or test.';

COMMENT ON COLUMN farebox_private.usage_hourly.paid_by IS 'Who the provider bills: operator, tenant, caller.';

COMMENT ON COLUMN farebox_private.usage_hourly.provider IS 'The vendor.';

COMMENT ON COLUMN farebox_private.usage_hourly.endpoint IS 'The kind of call.';

COMMENT ON COLUMN farebox_private.usage_hourly.model IS 'The model of the line; of the event on the row of the meter calls.';

COMMENT ON COLUMN farebox_private.usage_hourly.pricing IS 'How far the events are priced.';

COMMENT ON COLUMN farebox_private.usage_hourly.meter IS 'What is counted; calls is a meter of the roll-ups only.';

COMMENT ON COLUMN farebox_private.usage_hourly.quantity IS 'Sum of the meter.';

COMMENT ON COLUMN farebox_private.usage_hourly.cost_usd IS 'What the provider charges, as far as priced.';

COMMENT ON COLUMN farebox_private.usage_hourly.billed_usd IS 'What the operator charges, as far as priced.';

COMMENT ON COLUMN farebox_private.usage_hourly.events IS 'Events, on the row of the meter calls; 0 elsewhere.';

COMMENT ON COLUMN farebox_private.usage_hourly.unpriced_events IS 'Events with pricing unpriced or partial, on the row of the meter calls; 0 elsewhere.';

CREATE VIEW farebox_private.usage_totals AS
 SELECT total_sums.day,
    total_sums.utc_day,
    total_sums.period,
    total_sums.tenant_id,
    total_sums.environment,
    total_sums.paid_by,
    total_sums.provider,
    total_sums.endpoint,
    total_sums.model,
    total_sums.pricing,
    total_sums.meter,
    total_sums.quantity,
    total_sums.cost_usd,
    total_sums.billed_usd,
    total_sums.events,
    total_sums.unpriced_events
   FROM farebox_private.total_sums
UNION ALL
 SELECT added.day,
    ((added.hour AT TIME ZONE 'UTC'::text))::date AS utc_day,
    added.period,
    added.tenant_id,
    added.environment,
    added.paid_by,
    added.provider,
    added.endpoint,
    part.model,
    added.pricing,
    part.meter,
    part.quantity,
    (part.cost_usd)::farebox_private.usd AS cost_usd,
    (part.billed_usd)::farebox_private.usd AS billed_usd,
    part.events,
    part.unpriced_events
   FROM (farebox_private.new_sums added
     CROSS JOIN LATERAL UNNEST(added.models, added.meters, added.quantities, added.costs_usd, added.billed_usd, added.events, added.unpriced_events) part(model, meter, quantity, cost_usd, billed_usd, events, unpriced_events));

COMMENT ON VIEW farebox_private.usage_totals IS 'The sums of usage_daily over all customers, projects and keys: what is asked of a month of everybody is read from here. What is not merged yet has rows of its own.';

COMMENT ON COLUMN farebox_private.usage_totals.day IS 'The day in the tenant''s zone at ingest.';

COMMENT ON COLUMN farebox_private.usage_totals.utc_day IS 'The day in UTC: of the events of a day in the tenant''s zone, those of this one.';

COMMENT ON COLUMN farebox_private.usage_totals.period IS 'Month it is invoiced in, by its first day.';

COMMENT ON COLUMN farebox_private.usage_totals.tenant_id IS 'The tenant; null: unattributed.';

COMMENT ON COLUMN farebox_private.usage_totals.environment IS 'live or test.';

COMMENT ON COLUMN farebox_private.usage_totals.paid_by IS 'Who the provider bills: operator, tenant, caller.';

COMMENT ON COLUMN farebox_private.usage_totals.provider IS 'The vendor.';

COMMENT ON COLUMN farebox_private.usage_totals.endpoint IS 'The kind of call.';

COMMENT ON COLUMN farebox_private.usage_totals.model IS 'The model of the line; of the event on the row of the meter calls.';

COMMENT ON COLUMN farebox_private.usage_totals.pricing IS 'How far the events are priced.';

COMMENT ON COLUMN farebox_private.usage_totals.meter IS 'What is counted; calls is a meter of the roll-ups only.';

COMMENT ON COLUMN farebox_private.usage_totals.quantity IS 'Sum of the meter.';

COMMENT ON COLUMN farebox_private.usage_totals.cost_usd IS 'What the provider charges, as far as priced.';

COMMENT ON COLUMN farebox_private.usage_totals.billed_usd IS 'What the operator charges, as far as priced.';

COMMENT ON COLUMN farebox_private.usage_totals.events IS 'Events, on the row of the meter calls; 0 elsewhere.';

COMMENT ON COLUMN farebox_private.usage_totals.unpriced_events IS 'Events with pricing unpriced or partial, on the row of the meter calls; 0 elsewhere.';

CREATE FUNCTION farebox_private.check_rollups(from_day date, to_day date) RETURNS TABLE(roll_up text, slot text, tenant_id text, period date, model text, meter text, difference text)
    LANGUAGE sql STABLE
    BEGIN ATOMIC
 WITH parts AS MATERIALIZED (
          SELECT ledger_parts.hour,
             ledger_parts.day,
             ledger_parts.period,
             ledger_parts.tenant_id,
             ledger_parts.customer_id,
             ledger_parts.project,
             ledger_parts.key_id,
             ledger_parts.environment,
             ledger_parts.paid_by,
             ledger_parts.provider,
             ledger_parts.endpoint,
             ledger_parts.model,
             ledger_parts.pricing,
             ledger_parts.meter,
             ledger_parts.quantity,
             ledger_parts.cost_usd,
             ledger_parts.billed_usd,
             ledger_parts.events,
             ledger_parts.unpriced_events
            FROM farebox_private.ledger_parts(check_rollups.from_day, check_rollups.to_day) ledger_parts(hour, day, period, tenant_id, customer_id, project, key_id, environment, paid_by, provider, endpoint, model, pricing, meter, quantity, cost_usd, billed_usd, events, unpriced_events)
         ), made AS (
          SELECT 'usage_hourly'::text AS roll_up,
             to_char((parts.hour AT TIME ZONE 'UTC'::text), 'YYYY-MM-DD HH24'::text) AS slot,
             ((parts.hour AT TIME ZONE 'UTC'::text))::date AS utc_day,
             parts.period,
             parts.tenant_id,
             parts.customer_id,
             parts.project,
             parts.key_id,
             parts.environment,
             parts.paid_by,
             parts.provider,
             parts.endpoint,
             parts.model,
             parts.pricing,
             parts.meter,
             sum(parts.quantity) AS quantity,
             sum(parts.cost_usd) AS cost_usd,
             sum(parts.billed_usd) AS billed_usd,
             (sum(parts.events))::bigint AS events,
             (sum(parts.unpriced_events))::bigint AS unpriced_events
            FROM parts
           WHERE ((parts.hour >= ((check_rollups.from_day)::timestamp without time zone AT TIME ZONE 'UTC'::text)) AND (parts.hour < ((check_rollups.to_day)::timestamp without time zone AT TIME ZONE 'UTC'::text)))
           GROUP BY 'usage_hourly'::text, (to_char((parts.hour AT TIME ZONE 'UTC'::text), 'YYYY-MM-DD HH24'::text)), (((parts.hour AT TIME ZONE 'UTC'::text))::date), parts.period, parts.tenant_id, parts.customer_id, parts.project, parts.key_id, parts.environment, parts.paid_by, parts.provider, parts.endpoint, parts.model, parts.pricing, parts.meter
         UNION ALL
          SELECT 'usage_daily'::text,
             (parts.day)::text AS day,
             ((parts.hour AT TIME ZONE 'UTC'::text))::date AS timezone,
             parts.period,
             parts.tenant_id,
             parts.customer_id,
             parts.project,
             parts.key_id,
             parts.environment,
             parts.paid_by,
             parts.provider,
             parts.endpoint,
             parts.model,
             parts.pricing,
             parts.meter,
             sum(parts.quantity) AS sum,
             sum(parts.cost_usd) AS sum,
             sum(parts.billed_usd) AS sum,
             (sum(parts.events))::bigint AS sum,
             (sum(parts.unpriced_events))::bigint AS sum
            FROM parts
           WHERE ((parts.day >= check_rollups.from_day) AND (parts.day < check_rollups.to_day))
           GROUP BY 'usage_daily'::text, (parts.day)::text, (((parts.hour AT TIME ZONE 'UTC'::text))::date), parts.period, parts.tenant_id, parts.customer_id, parts.project, parts.key_id, parts.environment, parts.paid_by, parts.provider, parts.endpoint, parts.model, parts.pricing, parts.meter
         UNION ALL
          SELECT 'usage_totals'::text,
             (parts.day)::text AS day,
             ((parts.hour AT TIME ZONE 'UTC'::text))::date AS timezone,
             parts.period,
             parts.tenant_id,
             NULL::text,
             NULL::text,
             NULL::uuid,
             parts.environment,
             parts.paid_by,
             parts.provider,
             parts.endpoint,
             parts.model,
             parts.pricing,
             parts.meter,
             sum(parts.quantity) AS sum,
             sum(parts.cost_usd) AS sum,
             sum(parts.billed_usd) AS sum,
             (sum(parts.events))::bigint AS sum,
             (sum(parts.unpriced_events))::bigint AS sum
            FROM parts
           WHERE ((parts.day >= check_rollups.from_day) AND (parts.day < check_rollups.to_day))
           GROUP BY (parts.day)::text, (((parts.hour AT TIME ZONE 'UTC'::text))::date), parts.period, parts.tenant_id, parts.environment, parts.paid_by, parts.provider, parts.endpoint, parts.model, parts.pricing, parts.meter
         ), kept AS (
          SELECT 'usage_hourly'::text AS roll_up,
             to_char((usage_hourly.hour AT TIME ZONE 'UTC'::text), 'YYYY-MM-DD HH24'::text) AS slot,
             ((usage_hourly.hour AT TIME ZONE 'UTC'::text))::date AS utc_day,
             usage_hourly.period,
             usage_hourly.tenant_id,
             usage_hourly.customer_id,
             usage_hourly.project,
             usage_hourly.key_id,
             usage_hourly.environment,
             usage_hourly.paid_by,
             usage_hourly.provider,
             usage_hourly.endpoint,
             usage_hourly.model,
             usage_hourly.pricing,
             usage_hourly.meter,
             sum(usage_hourly.quantity) AS quantity,
             sum((usage_hourly.cost_usd)::numeric) AS cost_usd,
             sum((usage_hourly.billed_usd)::numeric) AS billed_usd,
             (sum(usage_hourly.events))::bigint AS events,
             (sum(usage_hourly.unpriced_events))::bigint AS unpriced_events
            FROM farebox_private.usage_hourly
           WHERE ((usage_hourly.hour >= ((check_rollups.from_day)::timestamp without time zone AT TIME ZONE 'UTC'::text)) AND (usage_hourly.hour < ((check_rollups.to_day)::timestamp without time zone AT TIME ZONE 'UTC'::text)))
           GROUP BY 'usage_hourly'::text, (to_char((usage_hourly.hour AT TIME ZONE 'UTC'::text), 'YYYY-MM-DD HH24'::text)), (((usage_hourly.hour AT TIME ZONE 'UTC'::text))::date), usage_hourly.period, usage_hourly.tenant_id, usage_hourly.customer_id, usage_hourly.project, usage_hourly.key_id, usage_hourly.environment, usage_hourly.paid_by, usage_hourly.provider, usage_hourly.endpoint, usage_hourly.model, usage_hourly.pricing, usage_hourly.meter
         UNION ALL
          SELECT 'usage_daily'::text,
             (usage_daily.day)::text AS day,
             usage_daily.utc_day,
             usage_daily.period,
             usage_daily.tenant_id,
             usage_daily.customer_id,
             usage_daily.project,
             usage_daily.key_id,
             usage_daily.environment,
             usage_daily.paid_by,
             usage_daily.provider,
             usage_daily.endpoint,
             usage_daily.model,
             usage_daily.pricing,
             usage_daily.meter,
             sum(usage_daily.quantity) AS sum,
             sum((usage_daily.cost_usd)::numeric) AS sum,
             sum((usage_daily.billed_usd)::numeric) AS sum,
             (sum(usage_daily.events))::bigint AS sum,
             (sum(usage_daily.unpriced_events))::bigint AS sum
            FROM farebox_private.usage_daily
           WHERE ((usage_daily.day >= check_rollups.from_day) AND (usage_daily.day < check_rollups.to_day))
           GROUP BY 'usage_daily'::text, (usage_daily.day)::text, usage_daily.utc_day, usage_daily.period, usage_daily.tenant_id, usage_daily.customer_id, usage_daily.project, usage_daily.key_id, usage_daily.environment, usage_daily.paid_by, usage_daily.provider, usage_daily.endpoint, usage_daily.model, usage_daily.pricing, usage_daily.meter
         UNION ALL
          SELECT 'usage_totals'::text,
             (usage_totals.day)::text AS day,
             usage_totals.utc_day,
             usage_totals.period,
             usage_totals.tenant_id,
             NULL::text,
             NULL::text,
             NULL::uuid,
             usage_totals.environment,
             usage_totals.paid_by,
             usage_totals.provider,
             usage_totals.endpoint,
             usage_totals.model,
             usage_totals.pricing,
             usage_totals.meter,
             sum(usage_totals.quantity) AS sum,
             sum((usage_totals.cost_usd)::numeric) AS sum,
             sum((usage_totals.billed_usd)::numeric) AS sum,
             (sum(usage_totals.events))::bigint AS sum,
             (sum(usage_totals.unpriced_events))::bigint AS sum
            FROM farebox_private.usage_totals
           WHERE ((usage_totals.day >= check_rollups.from_day) AND (usage_totals.day < check_rollups.to_day))
           GROUP BY (usage_totals.day)::text, usage_totals.utc_day, usage_totals.period, usage_totals.tenant_id, usage_totals.environment, usage_totals.paid_by, usage_totals.provider, usage_totals.endpoint, usage_totals.model, usage_totals.pricing, usage_totals.meter
         ), differing AS (
          SELECT 'not kept'::text AS difference,
             missing.roll_up,
             missing.slot,
             missing.utc_day,
             missing.period,
             missing.tenant_id,
             missing.customer_id,
             missing.project,
             missing.key_id,
             missing.environment,
             missing.paid_by,
             missing.provider,
             missing.endpoint,
             missing.model,
             missing.pricing,
             missing.meter,
             missing.quantity,
             missing.cost_usd,
             missing.billed_usd,
             missing.events,
             missing.unpriced_events
            FROM ( SELECT made.roll_up,
                     made.slot,
                     made.utc_day,
                     made.period,
                     made.tenant_id,
                     made.customer_id,
                     made.project,
                     made.key_id,
                     made.environment,
                     made.paid_by,
                     made.provider,
                     made.endpoint,
                     made.model,
                     made.pricing,
                     made.meter,
                     made.quantity,
                     made.cost_usd,
                     made.billed_usd,
                     made.events,
                     made.unpriced_events
                    FROM made
                 EXCEPT ALL
                  SELECT kept.roll_up,
                     kept.slot,
                     kept.utc_day,
                     kept.period,
                     kept.tenant_id,
                     kept.customer_id,
                     kept.project,
                     kept.key_id,
                     kept.environment,
                     kept.paid_by,
                     kept.provider,
                     kept.endpoint,
                     kept.model,
                     kept.pricing,
                     kept.meter,
                     kept.quantity,
                     kept.cost_usd,
                     kept.billed_usd,
                     kept.events,
                     kept.unpriced_events
                    FROM kept) missing
         UNION ALL
          SELECT 'not in the ledger'::text,
             invented.roll_up,
             invented.slot,
             invented.utc_day,
             invented.period,
             invented.tenant_id,
             invented.customer_id,
             invented.project,
             invented.key_id,
             invented.environment,
             invented.paid_by,
             invented.provider,
             invented.endpoint,
             invented.model,
             invented.pricing,
             invented.meter,
             invented.quantity,
             invented.cost_usd,
             invented.billed_usd,
             invented.events,
             invented.unpriced_events
            FROM ( SELECT kept.roll_up,
                     kept.slot,
                     kept.utc_day,
                     kept.period,
                     kept.tenant_id,
                     kept.customer_id,
                     kept.project,
                     kept.key_id,
                     kept.environment,
                     kept.paid_by,
                     kept.provider,
                     kept.endpoint,
                     kept.model,
                     kept.pricing,
                     kept.meter,
                     kept.quantity,
                     kept.cost_usd,
                     kept.billed_usd,
                     kept.events,
                     kept.unpriced_events
                    FROM kept
                 EXCEPT ALL
                  SELECT made.roll_up,
                     made.slot,
                     made.utc_day,
                     made.period,
                     made.tenant_id,
                     made.customer_id,
                     made.project,
                     made.key_id,
                     made.environment,
                     made.paid_by,
                     made.provider,
                     made.endpoint,
                     made.model,
                     made.pricing,
                     made.meter,
                     made.quantity,
                     made.cost_usd,
                     made.billed_usd,
                     made.events,
                     made.unpriced_events
                    FROM made) invented
         )
  SELECT differing.roll_up,
     differing.slot,
     differing.tenant_id,
     differing.period,
     differing.model,
     differing.meter,
     ((((((((((differing.difference || ': quantity '::text) || trim_scale(differing.quantity)) || ', cost '::text) || trim_scale(differing.cost_usd)) || ', billed '::text) || trim_scale(differing.billed_usd)) || ', events '::text) || differing.events) || ', unpriced '::text) || differing.unpriced_events)
    FROM differing
   WHERE ((differing.quantity <> (0)::numeric) OR (differing.cost_usd <> (0)::numeric) OR (differing.billed_usd <> (0)::numeric) OR (differing.events <> 0) OR (differing.unpriced_events <> 0))
   ORDER BY differing.roll_up, differing.slot, differing.tenant_id, differing.period, differing.model, differing.meter, ((((((((((differing.difference || ': quantity '::text) || trim_scale(differing.quantity)) || ', cost '::text) || trim_scale(differing.cost_usd)) || ', billed '::text) || trim_scale(differing.billed_usd)) || ', events '::text) || differing.events) || ', unpriced '::text) || differing.unpriced_events);
END;

COMMENT ON FUNCTION farebox_private.check_rollups(from_day date, to_day date) IS 'Rows of the roll-ups of these days that are not the sums of the ledger; none is as it should be. What retention removed is missing from the ledger.';

CREATE FUNCTION farebox_private.drop_expired_month(month date, default_days integer) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    SET lock_timeout TO '500ms'
    AS $_$
declare
    from_month date := date_trunc('month', month)::date;
    to_at timestamptz := (date_trunc('month', month) + interval '1 month')::timestamptz;
    partition_name text := 'usage_events_' || to_char(from_month, 'YYYYMM');
    is_kept boolean;
begin
    perform pg_advisory_xact_lock(hashtextextended('farebox_partitions', 0));
    if to_regclass('farebox_private.' || partition_name) is null then
        return false;
    end if;
    -- Most months are kept: that is seen before anything is locked, and looked at again under the locks, so
    -- that nobody books into it between the look and the end.
    for look in 1..2 loop
        if look = 2 then
            -- Who reads takes the table above first, then its months, and so does this. Against any other order
            -- the time-out is below Postgres' deadlock_timeout, so that it is this that gives up, and never who
            -- reads or books.
            lock table only farebox_private.usage_events in access exclusive mode;
            execute format('lock table farebox_private.%I in access exclusive mode', partition_name);
        end if;
        execute format(
            'select exists ('
            ' select from (select tenant_id, settings from farebox_private.tenants union all select null, ''{}'') as tenants'
            ' where now() - make_interval(days => coalesce((settings ->> ''retention_days'')::integer, $1)) >= $2 is not true'
            ' and exists (select from farebox_private.%1$I as events where events.tenant_id = tenants.tenant_id'
            '     or (events.tenant_id is null and tenants.tenant_id is null)))',
            partition_name
        ) into is_kept using default_days, to_at;
        if is_kept then
            return false;
        end if;
    end loop;
    execute format(
        'insert into farebox_private.retained (tenant_id, removed_before)'
        ' select tenant_id, $1 from ('
        '     select tenant_id from farebox_private.tenants union all select null) as tenants'
        ' where exists (select from farebox_private.%1$I as events where events.tenant_id = tenants.tenant_id'
        '     or (events.tenant_id is null and tenants.tenant_id is null))'
        ' on conflict (tenant_id) do update'
        ' set removed_before = greatest(retained.removed_before, excluded.removed_before), removed_at = now()',
        partition_name
    ) using to_at;
    execute format('drop table farebox_private.%I', partition_name);
    return true;
end
$_$;

COMMENT ON FUNCTION farebox_private.drop_expired_month(month date, default_days integer) IS 'Drops the partition of a month (UTC) that is older than every tenant''s retention, by default of so many days (null: for ever); true when it did.';

CREATE FUNCTION farebox_private.ensure_partition(month date) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    AS $$
declare
    from_month date := date_trunc('month', month)::date;
    to_month date := (date_trunc('month', month) + interval '1 month')::date;
    partition_name text := 'usage_events_' || to_char(from_month, 'YYYYMM');
    is_made boolean := false;
begin
    if from_month < date '2000-01-01' or from_month >= date '2100-01-01' then
        raise exception 'no partition for %: events are of the years 2000 to 2099', month
            using errcode = 'datetime_field_overflow';
    end if;
    if to_regclass('farebox_private.' || partition_name) is not null then
        return false;
    end if;
    perform pg_advisory_xact_lock(hashtextextended('farebox_partitions', 0));
    if to_regclass('farebox_private.' || partition_name) is null then
        execute format(
            'create table farebox_private.%I (like farebox_private.usage_events including all,'
            ' constraint started_in_month check (started_at >= %L and started_at < %L))'
            -- A row is about two kilobytes; compressing it would cost more than all its indexes.
            ' with (toast_tuple_target = 8160)',
            partition_name,
            from_month::timestamptz,
            to_month::timestamptz
        );
        -- Rows are read through the table above it, whose policies hold there. The collector copies
        -- straight into the month, which row security of its own would refuse; nobody may read it.
        execute format('grant insert on farebox_private.%I to farebox_collector', partition_name);
        execute format(
            'alter table farebox_private.usage_events attach partition farebox_private.%I'
            ' for values from (%L) to (%L)',
            partition_name,
            farebox_private.first_event_id(from_month::timestamptz),
            farebox_private.first_event_id(to_month::timestamptz)
        );
        execute format(
            'comment on table farebox_private.%I is %L',
            partition_name,
            'Usage events that started in ' || to_char(from_month, 'YYYY-MM') || ' (UTC).'
        );
        is_made := true;
    end if;
    return is_made;
exception
    -- What was looked up before the wait may still be remembered as missing after it.
    when duplicate_table then
        return false;
end
$$;

COMMENT ON FUNCTION farebox_private.ensure_partition(month date) IS 'Makes the partition of a month (UTC) unless it is there; true when it made one.';

CREATE FUNCTION farebox_private.forget_other_usage() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
    if (old.meter, old.window_kind, old.basis, old.per) is distinct from (new.meter, new.window_kind, new.basis, new.per) then
        delete from farebox_private.limit_usage where limit_usage.limit_id = new.limit_id;
    end if;
    return null;
end
$$;

COMMENT ON FUNCTION farebox_private.forget_other_usage() IS 'Trigger: a limit that counts something else than before begins anew.';

CREATE FUNCTION farebox_private.is_live_limit_node(node_id text) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    select exists (
        select from farebox_private.limit_nodes
        left join farebox_private.nodes using (node)
        where limit_nodes.node = node_id
            and limit_nodes.lapses_at > now()
            and nodes.retired_at is null
    )
$$;

COMMENT ON FUNCTION farebox_private.is_live_limit_node(node_id text) IS 'Whether a proxy''s leases still bind: it has spoken within its grace and is not retired.';

CREATE FUNCTION farebox_private.keep_time_zone_until_month_end() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
    perform now() at time zone new.time_zone;
    new.updated_at := now();
    if tg_op = 'UPDATE' and new.time_zone is distinct from old.time_zone then
        if old.time_zone_from is null or old.time_zone_from <= (now() at time zone old.time_zone)::date then
            new.time_zone_before := old.time_zone;
        end if;
        new.time_zone_from := (date_trunc('month', now() at time zone new.time_zone_before) + interval '1 month')::date;
    end if;
    return new;
end
$$;

COMMENT ON FUNCTION farebox_private.keep_time_zone_until_month_end() IS 'Trigger: refuses an unknown time zone and lets a changed one count from the next month.';

CREATE FUNCTION farebox_private.limit_share(amount numeric, parts integer) RETURNS numeric
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    select case when parts > 0 then div(amount * 1000000000000, parts) * 0.000000000001 else 0 end
$$;

COMMENT ON FUNCTION farebox_private.limit_share(amount numeric, parts integer) IS 'One part in so many of an amount, rounded down to twelve decimals; of 0 parts nothing.';

CREATE TABLE farebox_private.tenant_logins (
    login name NOT NULL,
    tenant_id text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    created_by text,
    CONSTRAINT tenant_id_is_id CHECK (farebox_private.is_id(tenant_id))
);

ALTER TABLE ONLY farebox_private.tenant_logins FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.tenant_logins IS 'Which database login belongs to which tenant; row security goes by it.';

COMMENT ON COLUMN farebox_private.tenant_logins.login IS 'The database role that logs in.';

COMMENT ON COLUMN farebox_private.tenant_logins.tenant_id IS 'The one tenant whose rows it sees.';

COMMENT ON COLUMN farebox_private.tenant_logins.created_at IS 'When the login was made.';

COMMENT ON COLUMN farebox_private.tenant_logins.created_by IS 'Who made it.';

CREATE FUNCTION farebox_private.own_tenant() RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN (SELECT tenant_logins.tenant_id FROM farebox_private.tenant_logins WHERE (tenant_logins.login = CURRENT_USER));

COMMENT ON FUNCTION farebox_private.own_tenant() IS 'The tenant of the current login; null for anybody else.';

CREATE FUNCTION farebox_private.may_see(tenant_id text) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN (farebox_private.sees_all() OR (tenant_id = farebox_private.own_tenant()));

COMMENT ON FUNCTION farebox_private.may_see(tenant_id text) IS 'Whether the current user may see rows of this tenant; unattributed rows (null) are for the operator.';

CREATE FUNCTION farebox_private.merge_sums() RETURNS bigint
    LANGUAGE sql
    SET work_mem TO '64MB'
    SET jit TO 'off'
    BEGIN ATOMIC
 WITH taken AS (
          DELETE FROM farebox_private.new_sums
           RETURNING new_sums.hour,
             new_sums.day,
             new_sums.period,
             new_sums.tenant_id,
             new_sums.customer_id,
             new_sums.project,
             new_sums.key_id,
             new_sums.environment,
             new_sums.paid_by,
             new_sums.provider,
             new_sums.endpoint,
             new_sums.pricing,
             new_sums.models,
             new_sums.meters,
             new_sums.quantities,
             new_sums.costs_usd,
             new_sums.billed_usd,
             new_sums.events,
             new_sums.unpriced_events
         ), grown AS MATERIALIZED (
          SELECT taken.hour,
             taken.day,
             taken.period,
             taken.tenant_id,
             taken.customer_id,
             taken.project,
             taken.key_id,
             taken.environment,
             taken.paid_by,
             taken.provider,
             taken.endpoint,
             part.model,
             taken.pricing,
             part.meter,
             sum(part.quantity) AS quantity,
             sum(part.cost_usd) AS cost_usd,
             sum(part.billed_usd) AS billed_usd,
             (sum(part.events))::bigint AS events,
             (sum(part.unpriced_events))::bigint AS unpriced_events
            FROM (taken
              CROSS JOIN LATERAL UNNEST(taken.models, taken.meters, taken.quantities, taken.costs_usd, taken.billed_usd, taken.events, taken.unpriced_events) part(model, meter, quantity, cost_usd, billed_usd, events, unpriced_events))
           GROUP BY taken.hour, taken.day, taken.period, taken.tenant_id, taken.customer_id, taken.project, taken.key_id, taken.environment, taken.paid_by, taken.provider, taken.endpoint, part.model, taken.pricing, part.meter
         ), hours AS (
          INSERT INTO farebox_private.hourly_sums AS sums (hour, period, tenant_id, customer_id, project, key_id, environment, paid_by, provider, endpoint, model, pricing, meter, quantity, cost_usd, billed_usd, events, unpriced_events)  SELECT grown.hour,
                     grown.period,
                     grown.tenant_id,
                     grown.customer_id,
                     grown.project,
                     grown.key_id,
                     grown.environment,
                     grown.paid_by,
                     grown.provider,
                     grown.endpoint,
                     grown.model,
                     grown.pricing,
                     grown.meter,
                     sum(grown.quantity) AS sum,
                     sum(grown.cost_usd) AS sum,
                     sum(grown.billed_usd) AS sum,
                     (sum(grown.events))::bigint AS sum,
                     (sum(grown.unpriced_events))::bigint AS sum
                    FROM grown
                   GROUP BY grown.hour, grown.period, grown.tenant_id, grown.customer_id, grown.project, grown.key_id, grown.environment, grown.paid_by, grown.provider, grown.endpoint, grown.model, grown.pricing, grown.meter
                   ORDER BY grown.hour, (grown.tenant_id COLLATE "C") NULLS FIRST, grown.period, (grown.customer_id COLLATE "C") NULLS FIRST, (grown.project COLLATE "C") NULLS FIRST, grown.key_id NULLS FIRST, (grown.environment COLLATE "C"), (grown.paid_by COLLATE "C"), (grown.provider COLLATE "C"), (grown.endpoint COLLATE "C"), (grown.pricing COLLATE "C"), (grown.model COLLATE "C") NULLS FIRST, (grown.meter COLLATE "C") ON CONFLICT(tenant_id, hour, meter, model, endpoint, provider, key_id, customer_id, project, period, environment, paid_by, pricing) DO UPDATE SET quantity = (sums.quantity + excluded.quantity), cost_usd = ((sums.cost_usd)::numeric + (excluded.cost_usd)::numeric), billed_usd = ((sums.billed_usd)::numeric + (excluded.billed_usd)::numeric), events = (sums.events + excluded.events), unpriced_events = (sums.unpriced_events + excluded.unpriced_events)
           RETURNING 1 AS "?column?"
         ), days AS (
          INSERT INTO farebox_private.daily_sums AS sums (day, period, tenant_id, customer_id, project, key_id, environment, paid_by, provider, endpoint, model, pricing, meter, quantity, cost_usd, billed_usd, events, unpriced_events, utc_day)  SELECT grown.day,
                     grown.period,
                     grown.tenant_id,
                     grown.customer_id,
                     grown.project,
                     grown.key_id,
                     grown.environment,
                     grown.paid_by,
                     grown.provider,
                     grown.endpoint,
                     grown.model,
                     grown.pricing,
                     grown.meter,
                     sum(grown.quantity) AS sum,
                     sum(grown.cost_usd) AS sum,
                     sum(grown.billed_usd) AS sum,
                     (sum(grown.events))::bigint AS sum,
                     (sum(grown.unpriced_events))::bigint AS sum,
                     grown.utc_day
                    FROM ( SELECT grown_1.hour,
                             grown_1.day,
                             grown_1.period,
                             grown_1.tenant_id,
                             grown_1.customer_id,
                             grown_1.project,
                             grown_1.key_id,
                             grown_1.environment,
                             grown_1.paid_by,
                             grown_1.provider,
                             grown_1.endpoint,
                             grown_1.model,
                             grown_1.pricing,
                             grown_1.meter,
                             grown_1.quantity,
                             grown_1.cost_usd,
                             grown_1.billed_usd,
                             grown_1.events,
                             grown_1.unpriced_events,
                             ((grown_1.hour AT TIME ZONE 'UTC'::text))::date AS utc_day
                            FROM (grown grown_1
                              CROSS JOIN ( SELECT count(*) AS count
                                    FROM hours) behind_hours)) grown
                   GROUP BY grown.day, grown.period, grown.tenant_id, grown.customer_id, grown.project, grown.key_id, grown.environment, grown.paid_by, grown.provider, grown.endpoint, grown.model, grown.pricing, grown.meter, grown.utc_day
                   ORDER BY grown.day, (grown.tenant_id COLLATE "C") NULLS FIRST, grown.period, (grown.customer_id COLLATE "C") NULLS FIRST, (grown.project COLLATE "C") NULLS FIRST, grown.key_id NULLS FIRST, (grown.environment COLLATE "C"), (grown.paid_by COLLATE "C"), (grown.provider COLLATE "C"), (grown.endpoint COLLATE "C"), (grown.pricing COLLATE "C"), (grown.model COLLATE "C") NULLS FIRST, (grown.meter COLLATE "C"), grown.utc_day ON CONFLICT(tenant_id, day, meter, model, endpoint, provider, key_id, customer_id, project, period, environment, paid_by, pricing, utc_day) DO UPDATE SET quantity = (sums.quantity + excluded.quantity), cost_usd = ((sums.cost_usd)::numeric + (excluded.cost_usd)::numeric), billed_usd = ((sums.billed_usd)::numeric + (excluded.billed_usd)::numeric), events = (sums.events + excluded.events), unpriced_events = (sums.unpriced_events + excluded.unpriced_events)
           RETURNING 1 AS "?column?"
         ), totals AS (
          INSERT INTO farebox_private.total_sums AS sums (day, period, tenant_id, environment, paid_by, provider, endpoint, model, pricing, meter, quantity, cost_usd, billed_usd, events, unpriced_events, utc_day)  SELECT grown.day,
                     grown.period,
                     grown.tenant_id,
                     grown.environment,
                     grown.paid_by,
                     grown.provider,
                     grown.endpoint,
                     grown.model,
                     grown.pricing,
                     grown.meter,
                     sum(grown.quantity) AS sum,
                     sum(grown.cost_usd) AS sum,
                     sum(grown.billed_usd) AS sum,
                     (sum(grown.events))::bigint AS sum,
                     (sum(grown.unpriced_events))::bigint AS sum,
                     grown.utc_day
                    FROM ( SELECT grown_1.hour,
                             grown_1.day,
                             grown_1.period,
                             grown_1.tenant_id,
                             grown_1.customer_id,
                             grown_1.project,
                             grown_1.key_id,
                             grown_1.environment,
                             grown_1.paid_by,
                             grown_1.provider,
                             grown_1.endpoint,
                             grown_1.model,
                             grown_1.pricing,
                             grown_1.meter,
                             grown_1.quantity,
                             grown_1.cost_usd,
                             grown_1.billed_usd,
                             grown_1.events,
                             grown_1.unpriced_events,
                             ((grown_1.hour AT TIME ZONE 'UTC'::text))::date AS utc_day
                            FROM (grown grown_1
                              CROSS JOIN ( SELECT count(*) AS count
                                    FROM days) behind_days)) grown
                   GROUP BY grown.day, grown.period, grown.tenant_id, grown.environment, grown.paid_by, grown.provider, grown.endpoint, grown.model, grown.pricing, grown.meter, grown.utc_day
                   ORDER BY grown.day, (grown.tenant_id COLLATE "C") NULLS FIRST, grown.period, (grown.environment COLLATE "C"), (grown.paid_by COLLATE "C"), (grown.provider COLLATE "C"), (grown.endpoint COLLATE "C"), (grown.pricing COLLATE "C"), (grown.model COLLATE "C") NULLS FIRST, (grown.meter COLLATE "C"), grown.utc_day ON CONFLICT(tenant_id, day, meter, model, endpoint, provider, period, environment, paid_by, pricing, utc_day) DO UPDATE SET quantity = (sums.quantity + excluded.quantity), cost_usd = ((sums.cost_usd)::numeric + (excluded.cost_usd)::numeric), billed_usd = ((sums.billed_usd)::numeric + (excluded.billed_usd)::numeric), events = (sums.events + excluded.events), unpriced_events = (sums.unpriced_events + excluded.unpriced_events)
           RETURNING 1 AS "?column?"
         )
  SELECT ( SELECT count(*) AS count
            FROM days) AS count
    FROM ( SELECT count(*) AS count
            FROM totals) behind_totals;
END;

COMMENT ON FUNCTION farebox_private.merge_sums() IS 'Adds what is in new_sums to hourly_sums, daily_sums and total_sums, and takes it out there; how many rows of days grew.';

CREATE FUNCTION farebox_private.modality(endpoint text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN (endpoint = ANY (ARRAY['transcription'::text, 'listen'::text])) THEN 'speech_to_text'::text WHEN (endpoint = ANY (ARRAY['speech'::text, 'speak'::text])) THEN 'text_to_speech'::text WHEN (endpoint = ANY (ARRAY['realtime'::text, 'agent'::text])) THEN 'voice'::text WHEN (endpoint = ANY (ARRAY['image'::text, 'video'::text, 'ocr'::text, 'batch'::text, 'other'::text])) THEN endpoint WHEN (endpoint = ANY (ARRAY['embeddings'::text, 'rerank'::text])) THEN 'retrieval'::text ELSE 'text'::text END;

COMMENT ON FUNCTION farebox_private.modality(endpoint text) IS 'What kind of exchange an endpoint is: text, speech_to_text, text_to_speech, voice, image, video, ocr, retrieval, batch, other.';

CREATE FUNCTION farebox_private.note_directory_change() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    entity jsonb := to_jsonb(case when tg_op = 'DELETE' then old else new end);
    change bigint;
begin
    perform pg_advisory_xact_lock(hashtextextended('farebox_directory', 0));
    insert into farebox_private.directory_changes (kind, entity_id)
    values (tg_argv[0], entity ->> tg_argv[1])
    returning change_id into change;
    perform pg_notify('farebox_directory', change::text);
    return null;
end
$$;

COMMENT ON FUNCTION farebox_private.note_directory_change() IS 'Trigger: writes one change for the row and notifies the proxies. Arguments: kind, id column.';

CREATE FUNCTION farebox_private.rebuild_rollups(from_day date, to_day date) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO 'pg_temp', 'pg_catalog'
    AS $$
declare
    rows_made bigint;
    rows_more bigint;
    rows_of_totals bigint;
begin
    if exists (
        select
        from farebox_private.retained
        where retained.removed_before > (from_day - 2)::timestamp at time zone 'UTC'
    ) then
        raise exception 'retention removed events of these days: their sums cannot be made again'
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    -- Nobody books meanwhile; reading goes on.
    lock table farebox_private.new_sums, farebox_private.hourly_sums, farebox_private.daily_sums,
        farebox_private.total_sums
        in share row exclusive mode;
    perform farebox_private.merge_sums();
    -- Added up by both slots at once, so that what is put aside is no larger than the sums themselves.
    create temporary table parts on commit drop as
    select
        hour, day, period, tenant_id, customer_id, project, key_id, environment, paid_by, provider, endpoint,
        model, pricing, meter, sum(quantity) as quantity, sum(cost_usd) as cost_usd,
        sum(billed_usd) as billed_usd, sum(events) as events, sum(unpriced_events) as unpriced_events
    from farebox_private.ledger_parts(from_day, to_day)
    group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14;
    delete from farebox_private.hourly_sums
    where hour >= from_day::timestamp at time zone 'UTC'
        and hour < to_day::timestamp at time zone 'UTC';
    delete from farebox_private.daily_sums
    where day >= from_day
        and day < to_day;
    insert into farebox_private.hourly_sums
    select
        hour, period, tenant_id, customer_id, project, key_id, environment, paid_by, provider, endpoint,
        model, pricing, meter, sum(quantity), sum(cost_usd), sum(billed_usd), sum(events),
        sum(unpriced_events)
    from parts
    where hour >= from_day::timestamp at time zone 'UTC'
        and hour < to_day::timestamp at time zone 'UTC'
    group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13;
    get diagnostics rows_made = row_count;
    insert into farebox_private.daily_sums (
        day, period, tenant_id, customer_id, project, key_id, environment, paid_by, provider, endpoint,
        model, pricing, meter, utc_day, quantity, cost_usd, billed_usd, events, unpriced_events
    )
    select
        day, period, tenant_id, customer_id, project, key_id, environment, paid_by, provider, endpoint,
        model, pricing, meter, (hour at time zone 'UTC')::date, sum(quantity), sum(cost_usd), sum(billed_usd),
        sum(events), sum(unpriced_events)
    from parts
    where day >= from_day
        and day < to_day
    group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14;
    get diagnostics rows_more = row_count;
    drop table parts;
    delete from farebox_private.total_sums
    where day >= from_day
        and day < to_day;
    insert into farebox_private.total_sums (
        day, utc_day, period, tenant_id, environment, paid_by, provider, endpoint, model, pricing, meter,
        quantity, cost_usd, billed_usd, events, unpriced_events
    )
    select
        day, utc_day, period, tenant_id, environment, paid_by, provider, endpoint, model, pricing, meter,
        sum(quantity), sum(cost_usd), sum(billed_usd), sum(events), sum(unpriced_events)
    from farebox_private.daily_sums
    where day >= from_day
        and day < to_day
    group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11;
    get diagnostics rows_of_totals = row_count;
    insert into farebox_private.tenant_sessions (tenant_id, session)
    select distinct booked.tenant_id, farebox_private.session_digest(booked.session_id)
    from farebox_private.usage_events as booked
    where booked.tenant_id is not null
        and booked.session_id is not null
        and booked.started_at >= (from_day - 2)::timestamp at time zone 'UTC'
        and booked.started_at < (to_day + 2)::timestamp at time zone 'UTC'
    on conflict do nothing;
    return rows_made + rows_more + rows_of_totals;
end
$$;

COMMENT ON FUNCTION farebox_private.rebuild_rollups(from_day date, to_day date) IS 'Makes the roll-ups of these days again from the ledger, and counts sessions that were not counted, for its owner; how many rows the roll-ups have then. Refused where retention removed events.';

CREATE FUNCTION farebox_private.renew_limit_leases(node_id text, node_epoch bigint, report jsonb) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    live integer;
    known farebox_private.limit_nodes%rowtype;
    report_no bigint := (report ->> 'report_no')::bigint;
    has_lapsed boolean := false;
    share integer := coalesce((report ->> 'share_of')::integer, 0);
    told_share integer;
    others_share numeric;
    item jsonb;
    answers jsonb := '[]';
    bound farebox_private.limits%rowtype;
    counter farebox_private.limit_usage%rowtype;
    start_at timestamptz;
    end_at timestamptz;
    is_soft boolean;
    lease_granted numeric;
    lease_spent numeric;
    lease_reserved numeric;
    lease_wanted numeric;
    is_done boolean;
    others_granted numeric;
    others_spent numeric;
    others_reserved numeric;
    implied numeric;
    room numeric;
    agents_last bigint;
    -- Counters told to a proxy at once; each is some hundred bytes.
    counters_max constant integer := 50000;
    agents_new jsonb;
    contended jsonb;
    counters jsonb := '[]';
    running_count integer;
begin
    -- One at a time: no two proxies are granted the same amount.
    perform pg_advisory_xact_lock(hashtextextended('farebox_limits', 1));

    select * into known from farebox_private.limit_nodes where limit_nodes.node = node_id;
    if known.epoch > node_epoch then
        return jsonb_build_object('is_stale', true);
    end if;
    if known.epoch = node_epoch then
        -- Its connection was given up and a later report was faster.
        if report_no <= known.report_no then
            return jsonb_build_object('is_late', true);
        end if;
        -- Its part was others' meanwhile: it has none before it asks.
        has_lapsed := known.lapses_at <= clock_timestamp();
        if has_lapsed then
            share := 0;
        end if;
    end if;
    insert into farebox_private.limit_nodes (node, epoch, share_of, lapses_at, report_no)
    values (
        node_id, node_epoch, 0, now() + make_interval(secs => (report ->> 'grace_seconds')::integer), coalesce(report_no, 0)
    )
    on conflict (node) do update set
        epoch = excluded.epoch,
        share_of = case when limit_nodes.epoch = excluded.epoch and not has_lapsed then limit_nodes.share_of else 0 end,
        renewed_at = now(),
        lapses_at = excluded.lapses_at,
        report_no = excluded.report_no;

    if has_lapsed then
        update farebox_private.limit_leases as lease
        set granted = least(lease.granted, lease.spent + lease.reserved)
        where lease.node = node_id
            and lease.epoch = node_epoch;
    end if;

    -- What an earlier start of this proxy held is over; what it spent is in its own notes, each start's
    -- taken once. The lease of the start that held one takes its own; the rest is used at once.
    with recovered as (
        select
            note.epoch, note.limit_id, note.scope, note.spent, coalesce(note.values, '{}') as scope_values,
            to_timestamp(note.start::numeric / 1000) as window_start,
            case when note."end" is null then 'infinity' else to_timestamp(note."end"::numeric / 1000) end as window_end
        from jsonb_to_recordset(coalesce(report -> 'recovered', '[]'))
            as note (epoch bigint, limit_id uuid, scope text, start bigint, "end" bigint, "values" jsonb, spent numeric)
        where note.epoch > coalesce(known.closed_epoch, -1)
            and note.epoch < node_epoch
    ),
    matched as (
        update farebox_private.limit_leases as lease
        set spent = greatest(lease.spent, recovered.spent)
        from recovered
        where (lease.limit_id, lease.scope, lease.window_start) = (recovered.limit_id, recovered.scope, recovered.window_start)
            and lease.node = node_id
            and lease.epoch = recovered.epoch
        returning recovered.limit_id, recovered.scope, recovered.window_start, recovered.epoch
    )
    insert into farebox_private.limit_usage as usage
        (limit_id, scope, window_start, window_end, tenant_id, scope_values, used)
    select
        recovered.limit_id, recovered.scope, recovered.window_start, max(recovered.window_end),
        coalesce(max(limits.tenant_id), max(recovered.scope_values ->> 'tenant')),
        (max(recovered.scope_values::text))::jsonb, sum(recovered.spent)
    from recovered
    join farebox_private.limits using (limit_id)
    where recovered.window_end > now()
        and not exists (
            select from matched
            where (matched.limit_id, matched.scope, matched.window_start, matched.epoch)
                = (recovered.limit_id, recovered.scope, recovered.window_start, recovered.epoch)
        )
    group by recovered.limit_id, recovered.scope, recovered.window_start
    on conflict on constraint limit_usage_pkey do update set used = usage.used + excluded.used;
    update farebox_private.limit_nodes
    set closed_epoch = greatest(closed_epoch, node_epoch - 1)
    where node = node_id;
    with closed as (
        delete from farebox_private.limit_leases as lease
        where lease.node = node_id and lease.epoch < node_epoch
        returning lease.*
    )
    update farebox_private.limit_usage as usage
    set used = usage.used + closed.spent,
        would_refuse = usage.would_refuse + closed.would_refuse,
        updated_at = now()
    from closed
    where (usage.limit_id, usage.scope, usage.window_start) = (closed.limit_id, closed.scope, closed.window_start);

    for item in select value from jsonb_array_elements(coalesce(report -> 'leases', '[]')) as value
    loop
        select * into bound from farebox_private.limits where limits.limit_id = (item ->> 'limit_id')::uuid;
        if not found then
            answers := answers || jsonb_build_array(null);
            continue;
        end if;
        start_at := to_timestamp((item ->> 'start')::numeric / 1000);
        end_at := case when item ->> 'end' is null then 'infinity' else to_timestamp((item ->> 'end')::numeric / 1000) end;
        is_soft := bound.action = 'warn' or bound.dry_run;
        lease_spent := (item ->> 'spent')::numeric;
        lease_reserved := (item ->> 'reserved')::numeric;
        lease_granted := (item ->> 'granted')::numeric;
        lease_wanted := (item ->> 'wanted')::numeric;
        is_done := (item ->> 'is_done')::boolean;
        -- It was said before, and only the answer was lost.
        if is_done and (item ->> 'done_no')::bigint <= known.report_no and known.epoch = node_epoch then
            answers := answers || jsonb_build_array(jsonb_build_object(
                'granted', lease_granted::text, 'used', lease_spent::text, 'reserved', '0'
            ));
            continue;
        end if;

        insert into farebox_private.limit_usage (limit_id, scope, window_start, window_end, tenant_id, scope_values)
        values (
            bound.limit_id, item ->> 'scope', start_at, end_at,
            coalesce(bound.tenant_id, item -> 'values' ->> 'tenant'), item -> 'values'
        )
        on conflict on constraint limit_usage_pkey do update set updated_at = now()
        returning * into counter;

        select
            coalesce(sum(case
                when farebox_private.is_live_limit_node(lease.node) and not is_soft
                then greatest(lease.granted, lease.spent + lease.reserved)
                else lease.spent
            end), 0),
            coalesce(sum(lease.spent), 0),
            coalesce(sum(lease.reserved) filter (where farebox_private.is_live_limit_node(lease.node)), 0)
        into others_granted, others_spent, others_reserved
        from farebox_private.limit_leases as lease
        where (lease.limit_id, lease.scope, lease.window_start) = (counter.limit_id, counter.scope, counter.window_start)
            and lease.node <> node_id;
        select coalesce(sum(farebox_private.limit_share(bound.amount, other.share_of)), 0)
        into implied
        from farebox_private.limit_nodes as other
        where other.node <> node_id
            and other.share_of > 0
            and farebox_private.is_live_limit_node(other.node)
            and not exists (
                select from farebox_private.limit_leases as lease
                where (lease.limit_id, lease.scope, lease.window_start) = (counter.limit_id, counter.scope, counter.window_start)
                    and lease.node = other.node
            );
        select count(*) into live
        from farebox_private.limit_nodes as other
        where farebox_private.is_live_limit_node(other.node);

        room := bound.amount - counter.used - others_granted - implied;
        if is_soft then
            lease_granted := lease_spent + lease_reserved;
        else
            if lease_granted > room then
                lease_granted := greatest(lease_spent + lease_reserved, room, 0);
            end if;
            if lease_wanted > 0 and room - lease_granted >= lease_wanted then
                -- A share of what is free, so that leases shrink as it comes to its end; but what is asked for,
                -- or nothing: parts of it with each would be of use to none.
                lease_granted := lease_granted + least(
                    room - lease_granted,
                    greatest((room - lease_granted) / greatest(live, 1), lease_wanted)
                );
            end if;
            if lease_wanted > 0 and lease_granted < lease_spent + lease_reserved + lease_wanted then
                update farebox_private.limit_usage as usage
                set contended_at = now()
                where (usage.limit_id, usage.scope, usage.window_start) = (counter.limit_id, counter.scope, counter.window_start);
            end if;
        end if;
        lease_granted := trunc(lease_granted, 12);

        if is_done then
            delete from farebox_private.limit_leases as lease
            where (lease.limit_id, lease.scope, lease.window_start, lease.node)
                = (counter.limit_id, counter.scope, counter.window_start, node_id);
            update farebox_private.limit_usage as usage
            set used = usage.used + lease_spent,
                would_refuse = usage.would_refuse + (item ->> 'would_refuse')::bigint
            where (usage.limit_id, usage.scope, usage.window_start) = (counter.limit_id, counter.scope, counter.window_start);
        else
            insert into farebox_private.limit_leases as lease
                (limit_id, scope, window_start, node, tenant_id, epoch, granted, spent, reserved, would_refuse)
            values (
                counter.limit_id, counter.scope, counter.window_start, node_id, counter.tenant_id, node_epoch,
                lease_granted, lease_spent, lease_reserved, (item ->> 'would_refuse')::bigint
            )
            on conflict on constraint limit_leases_pkey do update set
                epoch = excluded.epoch,
                granted = excluded.granted,
                spent = excluded.spent,
                reserved = excluded.reserved,
                would_refuse = excluded.would_refuse,
                renewed_at = now();
        end if;
        answers := answers || jsonb_build_array(jsonb_build_object(
            'granted', lease_granted::text,
            'used', (counter.used + others_spent)::text,
            'reserved', others_reserved::text
        ));
    end loop;

    -- The share of counters without a lease: smaller at once, larger only where the others' leave room.
    select count(*) into live
    from farebox_private.limit_nodes as other
    where farebox_private.is_live_limit_node(other.node);
    select coalesce(sum(1::numeric / other.share_of), 0)
    into others_share
    from farebox_private.limit_nodes as other
    where other.node <> node_id
        and other.share_of > 0
        and farebox_private.is_live_limit_node(other.node);
    told_share := share;
    if (report ->> 'is_leaving')::boolean then
        share := 0;
        told_share := 0;
    elsif share > 0 and live >= share then
        told_share := live;
    elsif others_share + 1::numeric / live <= 1 then
        -- A larger share is of what nobody has used yet. Of the counters there are by now it keeps what it
        -- could take without asking, as a lease, and is told so; what is told once more, because an answer
        -- was lost, is the same. Where they are too many, every counter has to be asked for. A clock that
        -- is behind may still be in a window that has ended here.
        select count(*) into running_count
        from (
            select from farebox_private.limit_usage as usage
            where usage.window_end > now() - interval '1 minute'
            limit counters_max + 1
        ) as running;
        if running_count <= counters_max then
            insert into farebox_private.limit_leases
                (limit_id, scope, window_start, node, tenant_id, epoch, granted, spent, reserved)
            select
                usage.limit_id, usage.scope, usage.window_start, node_id, usage.tenant_id, node_epoch,
                farebox_private.limit_share(limits.amount, share), 0, 0
            from farebox_private.limit_usage as usage
            join farebox_private.limits using (limit_id)
            where usage.window_end > now() - interval '1 minute'
            on conflict on constraint limit_leases_pkey do nothing;
            select coalesce(jsonb_agg(jsonb_build_object(
                'limit_id', usage.limit_id,
                'scope', usage.scope,
                'start', (extract(epoch from usage.window_start) * 1000)::bigint,
                'end', case when isfinite(usage.window_end) then (extract(epoch from usage.window_end) * 1000)::bigint end,
                'granted', lease.granted::text
            )), '[]')
            into counters
            from farebox_private.limit_usage as usage
            join farebox_private.limit_leases as lease using (limit_id, scope, window_start)
            where usage.window_end > now() - interval '1 minute'
                and lease.node = node_id;
            share := live;
            told_share := live;
        end if;
    end if;
    update farebox_private.limit_nodes set share_of = share where node = node_id;

    insert into farebox_private.limit_events
        (limit_event_id, limit_id, tenant_id, at, kind, meter, used, amount, node, scope, window_start, sent_at, expires_at)
    select
        gen_random_uuid(), limits.limit_id, coalesce(limits.tenant_id, event ->> 'tenant_id'),
        to_timestamp((event ->> 'at')::numeric / 1000), event ->> 'kind', limits.meter,
        (event ->> 'used')::numeric, limits.amount, node_id, event ->> 'scope',
        to_timestamp((event ->> 'start')::numeric / 1000), now(),
        case when event ->> 'end' is not null then to_timestamp((event ->> 'end')::numeric / 1000) end
    from jsonb_array_elements(coalesce(report -> 'events', '[]')) as event
    join farebox_private.limits on limits.limit_id = (event ->> 'limit_id')::uuid
    on conflict on constraint one_of_a_window do nothing;

    insert into farebox_private.agents (tenant_id, agent)
    select agent ->> 0, agent ->> 1
    from jsonb_array_elements(coalesce(report -> 'agents', '[]')) as agent
    on conflict do nothing;
    select coalesce(jsonb_agg(jsonb_build_array(tenant_id, agent)), '[]'), max(agent_no)
    into agents_new, agents_last
    from (
        select agent_no, tenant_id, agent
        from farebox_private.agents
        where agent_no > coalesce((report ->> 'agents_after')::bigint, 0)
        order by agent_no
        limit 10000
    ) as later;

    -- Others ask for more than is free: what this proxy does not need is theirs.
    select coalesce(jsonb_agg(jsonb_build_object(
        'limit_id', usage.limit_id,
        'scope', usage.scope,
        'values', usage.scope_values,
        'start', (extract(epoch from usage.window_start) * 1000)::bigint,
        'end', case when isfinite(usage.window_end) then (extract(epoch from usage.window_end) * 1000)::bigint end
    )), '[]')
    into contended
    from (
        select *
        from farebox_private.limit_usage
        where contended_at > now() - interval '5 seconds'
            and window_end > now()
        order by contended_at desc
        limit 200
    ) as usage;

    if (report ->> 'is_leaving')::boolean then
        with closed as (
            delete from farebox_private.limit_leases as lease
            where lease.node = node_id
            returning lease.*
        )
        update farebox_private.limit_usage as usage
        set used = usage.used + closed.spent,
            would_refuse = usage.would_refuse + closed.would_refuse
        from closed
        where (usage.limit_id, usage.scope, usage.window_start) = (closed.limit_id, closed.scope, closed.window_start);
        update farebox_private.limit_nodes
        set closed_epoch = node_epoch, lapses_at = now()
        where node = node_id;
    end if;
    -- Windows long past, now and then.
    if random() < 0.001 then
        delete from farebox_private.limit_usage where window_end < now() - interval '400 days';
    end if;

    return jsonb_build_object(
        'is_stale', false,
        'has_lapsed', has_lapsed,
        'live', live,
        'share_of', told_share,
        'leases', answers,
        'contended', contended,
        'counters', counters,
        'agents', agents_new,
        'agents_last', agents_last
    );
end
$$;

COMMENT ON FUNCTION farebox_private.renew_limit_leases(node_id text, node_epoch bigint, report jsonb) IS 'What a proxy spends of limits goes in, what it may spend comes out; events and agents with it. For farebox_proxy.';

CREATE FUNCTION farebox_private.session_digest(session_id text) RETURNS uuid
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (encode(substr(sha256(convert_to(session_id, 'UTF8'::name)), 1, 16), 'hex'::text))::uuid;

COMMENT ON FUNCTION farebox_private.session_digest(session_id text) IS 'What a session is counted by: the beginning of the SHA-256 of its id, which is the caller''s and not kept for longer than its events.';

CREATE FUNCTION farebox_private.session_idle() RETURNS interval
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN '00:30:00'::interval;

COMMENT ON FUNCTION farebox_private.session_idle() IS 'How long nothing may happen in a session before it counts as closed.';

CREATE TABLE farebox_private.audit_log (
    audit_id bigint NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    tenant_id text,
    entity_kind text,
    entity_id text,
    request_id text,
    details jsonb DEFAULT '{}'::jsonb NOT NULL
);

ALTER TABLE ONLY farebox_private.audit_log FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.audit_log IS 'Who did what; only grows.';

COMMENT ON COLUMN farebox_private.audit_log.audit_id IS 'Grows.';

COMMENT ON COLUMN farebox_private.audit_log.at IS 'When.';

COMMENT ON COLUMN farebox_private.audit_log.actor IS 'Who.';

COMMENT ON COLUMN farebox_private.audit_log.action IS 'What, as noun.verb.';

COMMENT ON COLUMN farebox_private.audit_log.tenant_id IS 'The tenant it concerns.';

COMMENT ON COLUMN farebox_private.audit_log.entity_kind IS 'Kind of the thing it was done to.';

COMMENT ON COLUMN farebox_private.audit_log.entity_id IS 'The thing it was done to.';

COMMENT ON COLUMN farebox_private.audit_log.request_id IS 'The API request.';

COMMENT ON COLUMN farebox_private.audit_log.details IS 'What changed; never a secret.';

CREATE VIEW farebox.audit_log AS
 SELECT audit_log.audit_id,
    audit_log.at,
    audit_log.actor,
    audit_log.action,
    audit_log.tenant_id,
    audit_log.entity_kind,
    audit_log.entity_id,
    audit_log.request_id,
    audit_log.details
   FROM farebox_private.audit_log;

COMMENT ON VIEW farebox.audit_log IS 'Who did what. Empty for tenants.';

COMMENT ON COLUMN farebox.audit_log.audit_id IS 'Grows.';

COMMENT ON COLUMN farebox.audit_log.at IS 'When.';

COMMENT ON COLUMN farebox.audit_log.actor IS 'Who.';

COMMENT ON COLUMN farebox.audit_log.action IS 'What, as noun.verb.';

COMMENT ON COLUMN farebox.audit_log.tenant_id IS 'The tenant it concerns.';

COMMENT ON COLUMN farebox.audit_log.entity_kind IS 'Kind of the thing it was done to.';

COMMENT ON COLUMN farebox.audit_log.entity_id IS 'The thing it was done to.';

COMMENT ON COLUMN farebox.audit_log.request_id IS 'The API request.';

COMMENT ON COLUMN farebox.audit_log.details IS 'What changed; never a secret.';

CREATE VIEW farebox.customers AS
 SELECT customers.tenant_id,
    customers.customer_id,
    customers.name,
    customers.settings,
    customers.created_at
   FROM farebox_private.customers;

COMMENT ON VIEW farebox.customers IS 'The tenants'' own end customers.';

COMMENT ON COLUMN farebox.customers.tenant_id IS 'The tenant.';

COMMENT ON COLUMN farebox.customers.customer_id IS 'The identifier used on the wire, unique in its tenant.';

COMMENT ON COLUMN farebox.customers.name IS 'A name for people.';

COMMENT ON COLUMN farebox.customers.settings IS 'Settings by name.';

COMMENT ON COLUMN farebox.customers.created_at IS 'When the customer was made.';

CREATE VIEW farebox.dead_air_events AS
 SELECT events.event_id,
    events.call_id,
    events.tenant_id,
    events.session_id,
    events.part AS turn,
    events.started_at,
    events.ended_at,
    events.duration_ms,
    NULL::numeric AS threshold_ms
   FROM farebox_private.usage_events events
  WHERE false;

COMMENT ON VIEW farebox.dead_air_events IS 'Silences in voice sockets, with their full length. Empty: no marks of speech are kept.';

COMMENT ON COLUMN farebox.dead_air_events.event_id IS 'The event of the turn it is in.';

COMMENT ON COLUMN farebox.dead_air_events.call_id IS 'The socket.';

COMMENT ON COLUMN farebox.dead_air_events.tenant_id IS 'The tenant.';

COMMENT ON COLUMN farebox.dead_air_events.session_id IS 'A conversation.';

COMMENT ON COLUMN farebox.dead_air_events.turn IS 'Number of the turn in its socket.';

COMMENT ON COLUMN farebox.dead_air_events.started_at IS 'Begin of the silence.';

COMMENT ON COLUMN farebox.dead_air_events.ended_at IS 'End of the silence.';

COMMENT ON COLUMN farebox.dead_air_events.duration_ms IS 'Its full length, in milliseconds.';

COMMENT ON COLUMN farebox.dead_air_events.threshold_ms IS 'From which length a silence counts.';

CREATE TABLE farebox_private.limit_leases (
    limit_id uuid NOT NULL,
    scope text NOT NULL,
    window_start timestamp with time zone NOT NULL,
    node text NOT NULL,
    tenant_id text,
    epoch bigint NOT NULL,
    granted numeric NOT NULL,
    spent numeric NOT NULL,
    reserved numeric NOT NULL,
    would_refuse bigint DEFAULT 0 NOT NULL,
    renewed_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT amounts_not_negative CHECK (((granted >= (0)::numeric) AND (spent >= (0)::numeric) AND (reserved >= (0)::numeric)))
);

ALTER TABLE ONLY farebox_private.limit_leases FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.limit_leases IS 'What a proxy may spend of a counter without asking.';

COMMENT ON COLUMN farebox_private.limit_leases.limit_id IS 'The limit.';

COMMENT ON COLUMN farebox_private.limit_leases.scope IS 'The counter''s values.';

COMMENT ON COLUMN farebox_private.limit_leases.window_start IS 'The counter''s window.';

COMMENT ON COLUMN farebox_private.limit_leases.node IS 'The proxy.';

COMMENT ON COLUMN farebox_private.limit_leases.tenant_id IS 'The tenant, when the counter is of one.';

COMMENT ON COLUMN farebox_private.limit_leases.epoch IS 'The start of the proxy that holds it.';

COMMENT ON COLUMN farebox_private.limit_leases.granted IS 'Spent and reserved may come to this.';

COMMENT ON COLUMN farebox_private.limit_leases.spent IS 'Settled, as last reported.';

COMMENT ON COLUMN farebox_private.limit_leases.reserved IS 'Held for calls that run, as last reported.';

COMMENT ON COLUMN farebox_private.limit_leases.would_refuse IS 'Calls that a dry run would have refused, as last reported.';

COMMENT ON COLUMN farebox_private.limit_leases.renewed_at IS 'When it was last reported.';

CREATE TABLE farebox_private.limit_nodes (
    node text NOT NULL,
    epoch bigint NOT NULL,
    closed_epoch bigint DEFAULT '-1'::integer NOT NULL,
    share_of integer DEFAULT 0 NOT NULL,
    renewed_at timestamp with time zone DEFAULT now() NOT NULL,
    lapses_at timestamp with time zone NOT NULL,
    report_no bigint DEFAULT 0 NOT NULL,
    CONSTRAINT node_is_id CHECK (farebox_private.is_id(node)),
    CONSTRAINT share_not_negative CHECK ((share_of >= 0))
);

ALTER TABLE ONLY farebox_private.limit_nodes FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.limit_nodes IS 'Proxies that spend from limits.';

COMMENT ON COLUMN farebox_private.limit_nodes.node IS 'The proxy.';

COMMENT ON COLUMN farebox_private.limit_nodes.epoch IS 'Its present start; an older one is not listened to.';

COMMENT ON COLUMN farebox_private.limit_nodes.closed_epoch IS 'What this start and earlier ones spent is taken over.';

COMMENT ON COLUMN farebox_private.limit_nodes.share_of IS 'The proxy may spend one part in so many of a counter that it has no lease of yet; 0: nothing.';

COMMENT ON COLUMN farebox_private.limit_nodes.renewed_at IS 'When it last spoke.';

COMMENT ON COLUMN farebox_private.limit_nodes.lapses_at IS 'From then on only what it has reported counts.';

COMMENT ON COLUMN farebox_private.limit_nodes.report_no IS 'The last report of this start that was taken; an earlier one that arrives later is not listened to.';

CREATE TABLE farebox_private.limit_usage (
    limit_id uuid NOT NULL,
    scope text NOT NULL,
    window_start timestamp with time zone NOT NULL,
    window_end timestamp with time zone NOT NULL,
    tenant_id text,
    scope_values jsonb DEFAULT '{}'::jsonb NOT NULL,
    used numeric DEFAULT 0 NOT NULL,
    would_refuse bigint DEFAULT 0 NOT NULL,
    contended_at timestamp with time zone,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT used_not_negative CHECK ((used >= (0)::numeric))
);

ALTER TABLE ONLY farebox_private.limit_usage FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.limit_usage IS 'One counter: a limit, the values it is counted for, and a window.';

COMMENT ON COLUMN farebox_private.limit_usage.limit_id IS 'The limit.';

COMMENT ON COLUMN farebox_private.limit_usage.scope IS 'The values of the limit''s per, as a JSON array in text; [] when it has none.';

COMMENT ON COLUMN farebox_private.limit_usage.window_start IS 'When the window began; 1970 for concurrency.';

COMMENT ON COLUMN farebox_private.limit_usage.window_end IS 'When the window ends; infinity for concurrency.';

COMMENT ON COLUMN farebox_private.limit_usage.tenant_id IS 'The tenant, when the counter is of one.';

COMMENT ON COLUMN farebox_private.limit_usage.scope_values IS 'The values of the limit''s per, by name.';

COMMENT ON COLUMN farebox_private.limit_usage.used IS 'Used under leases that are closed; that of open ones is on them.';

COMMENT ON COLUMN farebox_private.limit_usage.would_refuse IS 'Calls that a dry run would have refused, under closed leases.';

COMMENT ON COLUMN farebox_private.limit_usage.contended_at IS 'When a proxy last asked for more than was free; the others then return what they do not need.';

COMMENT ON COLUMN farebox_private.limit_usage.updated_at IS 'When a proxy last reported.';

CREATE VIEW farebox.limit_status AS
 WITH present AS (
         SELECT limits.limit_id,
            limits.tenant_id,
            limits.customer_id,
            limits.key_id,
            limits.upstream,
            limits.model,
            limits.meter,
            limits.amount,
            limits.window_kind,
            limits.action,
            limits.dry_run,
            limits.expires_at,
            limits.created_at,
            limits.created_by,
            limits.updated_at,
            limits.project,
            limits.agent,
            limits.provider,
            limits.per,
            limits.basis,
            limits.fail,
            COALESCE(
                CASE
                    WHEN (tenants.time_zone_from > ((now() AT TIME ZONE tenants.time_zone_before))::date) THEN tenants.time_zone_before
                    ELSE NULL::text
                END, tenants.time_zone, 'UTC'::text) AS zone
           FROM (farebox_private.limits
             LEFT JOIN farebox_private.tenants USING (tenant_id))
          WHERE (((limits.expires_at IS NULL) OR (limits.expires_at > now())) AND (( SELECT farebox_private.sees_all() AS sees_all) OR ((limits.basis <> 'cost'::text) AND (limits.tenant_id IS NOT NULL))))
        ), counters AS (
         SELECT present.limit_id,
            present.tenant_id,
            present.customer_id,
            present.key_id,
            present.upstream,
            present.model,
            present.meter,
            present.amount,
            present.window_kind,
            present.action,
            present.dry_run,
            present.expires_at,
            present.created_at,
            present.created_by,
            present.updated_at,
            present.project,
            present.agent,
            present.provider,
            present.per,
            present.basis,
            present.fail,
            present.zone,
            usage.scope,
            usage.scope_values,
            usage.tenant_id AS counter_tenant_id,
            usage.window_start,
            usage.window_end,
            usage.updated_at AS reported_at,
                CASE
                    WHEN (usage.limit_id IS NOT NULL) THEN (usage.used + COALESCE(lease.spent, (0)::numeric))
                    ELSE (0)::numeric
                END AS used,
            COALESCE(lease.reserved, (0)::numeric) AS reserved,
            COALESCE(lease.granted, (0)::numeric) AS leased,
            (COALESCE(usage.would_refuse, (0)::bigint) + COALESCE(lease.would_refuse, (0)::bigint)) AS would_refuse
           FROM ((present
             LEFT JOIN farebox_private.limit_usage usage ON (((usage.limit_id = present.limit_id) AND (usage.window_start <= now()) AND (usage.window_end > now()))))
             LEFT JOIN LATERAL ( SELECT sum(limit_leases.spent) AS spent,
                    sum(
                        CASE
                            WHEN node.is_live THEN limit_leases.reserved
                            ELSE (0)::numeric
                        END) AS reserved,
                    sum(
                        CASE
                            WHEN node.is_live THEN limit_leases.granted
                            ELSE limit_leases.spent
                        END) AS granted,
                    (sum(limit_leases.would_refuse))::bigint AS would_refuse
                   FROM farebox_private.limit_leases,
                    LATERAL ( SELECT (EXISTS ( SELECT
                                   FROM farebox_private.limit_nodes
                                  WHERE ((limit_nodes.node = limit_leases.node) AND (limit_nodes.lapses_at > now())))) AS is_live) node
                  WHERE ((limit_leases.limit_id = usage.limit_id) AND (limit_leases.scope = usage.scope) AND (limit_leases.window_start = usage.window_start))) lease ON (true))
        )
 SELECT counters.limit_id,
    COALESCE(counters.tenant_id, counters.counter_tenant_id) AS tenant_id,
    counters.scope_values,
    counters.meter,
    counters.basis,
    counters.amount,
    counters.window_kind,
    counters.action,
    counters.dry_run,
    counters.used,
    counters.reserved,
    GREATEST(((counters.amount - counters.used) - counters.reserved), (0)::numeric) AS remaining,
        CASE
            WHEN (counters.amount > (0)::numeric) THEN round((((100)::numeric * counters.used) / counters.amount), 2)
            ELSE NULL::numeric
        END AS percent,
        CASE
            WHEN ((counters.window_kind = ANY (ARRAY['second'::text, 'minute'::text, 'concurrent'::text])) AND (counters.window_end IS NULL)) THEN NULL::timestamp with time zone
            WHEN (counters.window_start IS NOT NULL) THEN counters.window_start
            ELSE (date_trunc(counters.window_kind, (now() AT TIME ZONE counters.zone)) AT TIME ZONE counters.zone)
        END AS window_start,
        CASE
            WHEN (counters.window_kind = 'concurrent'::text) THEN NULL::timestamp with time zone
            WHEN (counters.window_end IS NOT NULL) THEN counters.window_end
            WHEN (counters.window_kind = ANY (ARRAY['second'::text, 'minute'::text])) THEN NULL::timestamp with time zone
            ELSE ((date_trunc(counters.window_kind, (now() AT TIME ZONE counters.zone)) + (('1 '::text || counters.window_kind))::interval) AT TIME ZONE counters.zone)
        END AS resets_at,
        CASE
            WHEN ( SELECT farebox_private.sees_all() AS sees_all) THEN counters.leased
            ELSE NULL::numeric
        END AS leased,
    counters.would_refuse,
    counters.expires_at,
    counters.reported_at
   FROM counters;

COMMENT ON VIEW farebox.limit_status IS 'How far each limit that holds is used in its present window. Tenants see their own, but none on cost and none wider than they are. Rates by the second and the minute are counted in the proxies alone.';

COMMENT ON COLUMN farebox.limit_status.limit_id IS 'The limit.';

COMMENT ON COLUMN farebox.limit_status.tenant_id IS 'The tenant it counts; null: several.';

COMMENT ON COLUMN farebox.limit_status.scope_values IS 'The values of the limit''s per that are counted here, by name.';

COMMENT ON COLUMN farebox.limit_status.meter IS 'What is counted.';

COMMENT ON COLUMN farebox.limit_status.basis IS 'For usd: billed or cost.';

COMMENT ON COLUMN farebox.limit_status.amount IS 'How much a window allows.';

COMMENT ON COLUMN farebox.limit_status.window_kind IS 'The window.';

COMMENT ON COLUMN farebox.limit_status.action IS 'What happens past it.';

COMMENT ON COLUMN farebox.limit_status.dry_run IS 'Counted and reported, never enforced.';

COMMENT ON COLUMN farebox.limit_status.used IS 'Settled in this window, as last reported.';

COMMENT ON COLUMN farebox.limit_status.reserved IS 'Held for calls that run, as last reported.';

COMMENT ON COLUMN farebox.limit_status.remaining IS 'What is left: amount without used and reserved, never below zero.';

COMMENT ON COLUMN farebox.limit_status.percent IS 'Used in percent of the amount.';

COMMENT ON COLUMN farebox.limit_status.window_start IS 'When the window began; null: it has none.';

COMMENT ON COLUMN farebox.limit_status.resets_at IS 'When the next window begins; null: it has none.';

COMMENT ON COLUMN farebox.limit_status.leased IS 'What proxies may spend without asking, spent and reserved included. Null for tenants.';

COMMENT ON COLUMN farebox.limit_status.would_refuse IS 'Calls that a dry run would have refused.';

COMMENT ON COLUMN farebox.limit_status.expires_at IS 'When the limit stops to hold; null: never.';

COMMENT ON COLUMN farebox.limit_status.reported_at IS 'When a proxy last reported; null: not yet.';

CREATE VIEW farebox.margins AS
 SELECT sums.period,
    sums.tenant_id,
    sums.provider,
    sums.model,
    trim_scale(sums.billed_usd) AS billed_usd,
    trim_scale(sums.cost_usd) AS cost_usd,
    trim_scale((sums.billed_usd - sums.cost_usd)) AS margin_usd,
    sums.unpriced_events,
        CASE
            WHEN (sums.billed_usd <> (0)::numeric) THEN round(((sums.billed_usd - sums.cost_usd) / sums.billed_usd), 4)
            ELSE NULL::numeric
        END AS margin_ratio,
    ((sums.billed_usd - sums.cost_usd) < (0.2 * sums.billed_usd)) AS is_thin,
    (sums.billed_usd < sums.cost_usd) AS is_negative
   FROM ( SELECT daily.period,
            daily.tenant_id,
            daily.provider,
            daily.model,
            sum((daily.billed_usd)::numeric) AS billed_usd,
            sum(
                CASE
                    WHEN (daily.paid_by = 'operator'::text) THEN (daily.cost_usd)::numeric
                    ELSE (0)::numeric
                END) AS cost_usd,
            (sum(daily.unpriced_events))::bigint AS unpriced_events
           FROM farebox_private.usage_daily daily
          WHERE (( SELECT farebox_private.sees_all() AS sees_all) AND (daily.environment = 'live'::text))
          GROUP BY daily.period, daily.tenant_id, daily.provider, daily.model) sums;

COMMENT ON VIEW farebox.margins IS 'What was billed less what it cost, by month; cost counts where the operator pays. Empty for tenants.';

COMMENT ON COLUMN farebox.margins.period IS 'The month.';

COMMENT ON COLUMN farebox.margins.tenant_id IS 'The tenant; null: unattributed.';

COMMENT ON COLUMN farebox.margins.provider IS 'The vendor.';

COMMENT ON COLUMN farebox.margins.model IS 'The model.';

COMMENT ON COLUMN farebox.margins.billed_usd IS 'What the operator charges.';

COMMENT ON COLUMN farebox.margins.cost_usd IS 'What the operator pays.';

COMMENT ON COLUMN farebox.margins.margin_usd IS 'The difference.';

COMMENT ON COLUMN farebox.margins.unpriced_events IS 'Events that are missing from both.';

COMMENT ON COLUMN farebox.margins.margin_ratio IS 'The margin as a part of what was billed, to four decimals; null where nothing was billed.';

COMMENT ON COLUMN farebox.margins.is_thin IS 'Whether the margin is less than a fifth of what was billed; negative ones are.';

COMMENT ON COLUMN farebox.margins.is_negative IS 'Whether it cost more than was billed.';

CREATE TABLE farebox_private.nodes (
    node text NOT NULL,
    epoch bigint,
    first_seen_at timestamp with time zone DEFAULT now() NOT NULL,
    last_seen_at timestamp with time zone DEFAULT now() NOT NULL,
    sent_at timestamp with time zone,
    open_since timestamp with time zone,
    retired_at timestamp with time zone,
    retired_by text,
    CONSTRAINT node_is_id CHECK (farebox_private.is_id(node))
);

ALTER TABLE ONLY farebox_private.nodes FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.nodes IS 'Proxies that shipped; live until retired. A close waits for their open_since.';

COMMENT ON COLUMN farebox_private.nodes.node IS 'The proxy''s name.';

COMMENT ON COLUMN farebox_private.nodes.epoch IS 'Its latest process start.';

COMMENT ON COLUMN farebox_private.nodes.first_seen_at IS 'Its first request.';

COMMENT ON COLUMN farebox_private.nodes.last_seen_at IS 'Its latest request, by the collector''s clock.';

COMMENT ON COLUMN farebox_private.nodes.sent_at IS 'Its latest request, by its own clock.';

COMMENT ON COLUMN farebox_private.nodes.open_since IS 'Earliest started_at of what it has not shipped yet.';

COMMENT ON COLUMN farebox_private.nodes.retired_at IS 'When the operator retired it.';

COMMENT ON COLUMN farebox_private.nodes.retired_by IS 'Who retired it.';

CREATE TABLE farebox_private.received_sequences (
    node text NOT NULL,
    epoch bigint NOT NULL,
    ranges int8multirange NOT NULL
);

ALTER TABLE ONLY farebox_private.received_sequences FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.received_sequences IS 'Numbers of settlements that were booked, kept for ever: they show holes and what retention removed.';

COMMENT ON COLUMN farebox_private.received_sequences.node IS 'The proxy.';

COMMENT ON COLUMN farebox_private.received_sequences.epoch IS 'Its process start.';

COMMENT ON COLUMN farebox_private.received_sequences.ranges IS 'Numbers booked.';

CREATE VIEW farebox.nodes AS
 SELECT nodes.node,
    nodes.epoch,
    nodes.first_seen_at,
    nodes.last_seen_at,
    nodes.sent_at,
    nodes.open_since,
    nodes.retired_at,
    nodes.retired_by,
    (nodes.retired_at IS NULL) AS is_live,
    ( SELECT (COALESCE(sum((((upper(received.ranges) - 1))::numeric - ( SELECT sum((upper(part.part) - lower(part.part))) AS sum
                   FROM unnest(received.ranges) part(part)))), (0)::numeric))::bigint AS "coalesce"
           FROM farebox_private.received_sequences received
          WHERE ((received.node = nodes.node) AND (NOT isempty(received.ranges)))) AS missing
   FROM farebox_private.nodes
  WHERE ( SELECT farebox_private.sees_all() AS sees_all);

COMMENT ON VIEW farebox.nodes IS 'Proxies that shipped. Empty for tenants.';

COMMENT ON COLUMN farebox.nodes.node IS 'The proxy''s name.';

COMMENT ON COLUMN farebox.nodes.epoch IS 'Its latest process start.';

COMMENT ON COLUMN farebox.nodes.first_seen_at IS 'Its first request.';

COMMENT ON COLUMN farebox.nodes.last_seen_at IS 'Its latest request, by the collector''s clock.';

COMMENT ON COLUMN farebox.nodes.sent_at IS 'Its latest request, by its own clock.';

COMMENT ON COLUMN farebox.nodes.open_since IS 'Earliest started_at of what it has not shipped yet.';

COMMENT ON COLUMN farebox.nodes.retired_at IS 'When the operator retired it.';

COMMENT ON COLUMN farebox.nodes.retired_by IS 'Who retired it.';

COMMENT ON COLUMN farebox.nodes.is_live IS 'Not retired: a close waits for it.';

COMMENT ON COLUMN farebox.nodes.missing IS 'Settlements that it numbered and that have not arrived.';

CREATE VIEW farebox.rate_cards AS
 SELECT cards.provider,
    cards.kind,
    cards.sha256 AS revision,
    ((cards.activated_at IS NOT NULL) AND (NOT (EXISTS ( SELECT
           FROM farebox_private.rate_card_revisions newer
          WHERE ((newer.provider = cards.provider) AND (newer.kind = cards.kind) AND (newer.activated_at > cards.activated_at)))))) AS is_active,
    cards.loaded_at,
    cards.activated_at,
    cards.activated_by,
    (cards.canonical)::jsonb AS card
   FROM farebox_private.rate_card_revisions cards;

COMMENT ON VIEW farebox.rate_cards IS 'Revisions of rate cards. Empty for tenants.';

COMMENT ON COLUMN farebox.rate_cards.provider IS 'The vendor.';

COMMENT ON COLUMN farebox.rate_cards.kind IS 'cost (a provider''s prices) or price (selling rules).';

COMMENT ON COLUMN farebox.rate_cards.revision IS 'SHA-256 of the canonical form: the revision''s identity.';

COMMENT ON COLUMN farebox.rate_cards.is_active IS 'Whether it is the revision in force.';

COMMENT ON COLUMN farebox.rate_cards.loaded_at IS 'When it came into the database.';

COMMENT ON COLUMN farebox.rate_cards.activated_at IS 'When it became active; null: not yet.';

COMMENT ON COLUMN farebox.rate_cards.activated_by IS 'Who activated it; built-in cards: migrate.';

COMMENT ON COLUMN farebox.rate_cards.card IS 'The card itself.';

CREATE VIEW farebox.rates AS
 SELECT cards.provider,
    cards.kind,
    cards.sha256 AS revision,
    cards.activated_at,
    (model.value ->> 'model'::text) AS model,
    COALESCE((model.value -> 'aliases'::text), '[]'::jsonb) AS aliases,
    (((revision.value ->> 'from'::text))::timestamp without time zone AT TIME ZONE 'UTC'::text) AS valid_from,
    (rate.value ->> 'meter'::text) AS meter,
    ((rate.value ->> 'usd'::text))::numeric AS usd,
    ((rate.value ->> 'per'::text))::numeric AS per,
    COALESCE((rate.value -> 'when'::text), '{}'::jsonb) AS conditions,
    (rate.value ->> 'source'::text) AS source,
    ((rate.value ->> 'checked'::text))::date AS checked_on,
    NULL::text AS rule,
    NULL::text AS tenant_id,
    NULL::text AS plan,
    NULL::numeric AS markup,
    NULL::timestamp with time zone AS valid_to
   FROM (((farebox_private.rate_card_revisions cards
     CROSS JOIN LATERAL jsonb_array_elements(((cards.canonical)::jsonb -> 'models'::text)) model(value))
     CROSS JOIN LATERAL jsonb_array_elements((model.value -> 'revisions'::text)) revision(value))
     CROSS JOIN LATERAL jsonb_array_elements((revision.value -> 'rates'::text)) rate(value))
  WHERE (cards.kind = 'cost'::text)
UNION ALL
 SELECT COALESCE((rule.value ->> 'provider'::text), cards.provider) AS provider,
    cards.kind,
    cards.sha256 AS revision,
    cards.activated_at,
    (rule.value ->> 'model'::text) AS model,
    '[]'::jsonb AS aliases,
    (((rule.value ->> 'from'::text))::timestamp without time zone AT TIME ZONE 'UTC'::text) AS valid_from,
    meter.value AS meter,
    ((rule.value ->> 'usd'::text))::numeric AS usd,
    ((rule.value ->> 'per'::text))::numeric AS per,
    COALESCE((rule.value -> 'when'::text), '{}'::jsonb) AS conditions,
    NULL::text AS source,
    NULL::date AS checked_on,
    (rule.value ->> 'rule'::text) AS rule,
    (rule.value ->> 'tenant'::text) AS tenant_id,
    (rule.value ->> 'plan'::text) AS plan,
    ((rule.value ->> 'markup'::text))::numeric AS markup,
    (((rule.value ->> 'to'::text))::timestamp without time zone AT TIME ZONE 'UTC'::text) AS valid_to
   FROM ((farebox_private.rate_card_revisions cards
     CROSS JOIN LATERAL jsonb_array_elements(COALESCE(((cards.canonical)::jsonb -> 'rules'::text), '[]'::jsonb)) rule(value))
     LEFT JOIN LATERAL jsonb_array_elements_text((rule.value -> 'meters'::text)) meter(value) ON (true))
  WHERE (cards.kind = 'price'::text);

COMMENT ON VIEW farebox.rates IS 'Prices of all cards, one row for each model, start, meter and condition, and the selling rules, one row for each rule and meter. Empty for tenants.';

COMMENT ON COLUMN farebox.rates.provider IS 'The vendor; * for a selling rule of all.';

COMMENT ON COLUMN farebox.rates.kind IS 'cost (a provider''s prices) or price (selling rules).';

COMMENT ON COLUMN farebox.rates.revision IS 'The card.';

COMMENT ON COLUMN farebox.rates.activated_at IS 'When it became active; null: not yet.';

COMMENT ON COLUMN farebox.rates.model IS 'The card''s name of the model; null: a selling rule of all.';

COMMENT ON COLUMN farebox.rates.aliases IS 'Its other names.';

COMMENT ON COLUMN farebox.rates.valid_from IS 'When the price starts; null: since the model exists.';

COMMENT ON COLUMN farebox.rates.meter IS 'What is counted; null: a markup on everything.';

COMMENT ON COLUMN farebox.rates.usd IS 'US dollars for every per units; null: a price in credits, or a markup.';

COMMENT ON COLUMN farebox.rates.per IS 'Units the dollars are for.';

COMMENT ON COLUMN farebox.rates.conditions IS 'When the price holds; empty: always.';

COMMENT ON COLUMN farebox.rates.source IS 'Where the price was read; null for selling rules.';

COMMENT ON COLUMN farebox.rates.checked_on IS 'The day it was read.';

COMMENT ON COLUMN farebox.rates.rule IS 'The selling rule''s name; null for a provider''s prices.';

COMMENT ON COLUMN farebox.rates.tenant_id IS 'The tenant the selling rule is for; null: all.';

COMMENT ON COLUMN farebox.rates.plan IS 'The plan the selling rule is for; null: all.';

COMMENT ON COLUMN farebox.rates.markup IS 'What the selling rule multiplies the cost by; null: a fixed price.';

COMMENT ON COLUMN farebox.rates.valid_to IS 'When the selling rule ends, not included; null: when a later one starts.';

CREATE TABLE farebox_private.reconciliation_lines (
    reconciliation_id uuid NOT NULL,
    line bigint NOT NULL,
    day date,
    id text,
    credential text,
    model text,
    meter text NOT NULL,
    vendor_quantity numeric,
    quantity numeric,
    vendor_cost_usd numeric,
    cost_usd numeric,
    quantity_difference numeric,
    cost_difference_usd numeric,
    cause text,
    implied_rate numeric,
    booked_rate numeric,
    CONSTRAINT cause_is_known CHECK ((cause = ANY (ARRAY['coverage'::text, 'units'::text, 'rate'::text])))
);

ALTER TABLE ONLY farebox_private.reconciliation_lines FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.reconciliation_lines IS 'What was compared, line by line.';

COMMENT ON COLUMN farebox_private.reconciliation_lines.reconciliation_id IS 'The comparison.';

COMMENT ON COLUMN farebox_private.reconciliation_lines.line IS 'Number of the line, from 1.';

COMMENT ON COLUMN farebox_private.reconciliation_lines.day IS 'The day, UTC; null where calls are compared one by one.';

COMMENT ON COLUMN farebox_private.reconciliation_lines.id IS 'The vendor''s request or response id; null where days are compared.';

COMMENT ON COLUMN farebox_private.reconciliation_lines.credential IS 'The provider credential, where the report names it.';

COMMENT ON COLUMN farebox_private.reconciliation_lines.model IS 'The model as the rate card names it; null: the report does not say.';

COMMENT ON COLUMN farebox_private.reconciliation_lines.meter IS 'What is counted; cost where the report has amounts without units.';

COMMENT ON COLUMN farebox_private.reconciliation_lines.vendor_quantity IS 'Units that the vendor reports.';

COMMENT ON COLUMN farebox_private.reconciliation_lines.quantity IS 'Units in the ledger, corrections included.';

COMMENT ON COLUMN farebox_private.reconciliation_lines.vendor_cost_usd IS 'What the vendor charges.';

COMMENT ON COLUMN farebox_private.reconciliation_lines.cost_usd IS 'Cost in the ledger, corrections included.';

COMMENT ON COLUMN farebox_private.reconciliation_lines.quantity_difference IS 'The vendor''s units less the ledger''s.';

COMMENT ON COLUMN farebox_private.reconciliation_lines.cost_difference_usd IS 'The vendor''s cost less the ledger''s.';

COMMENT ON COLUMN farebox_private.reconciliation_lines.cause IS 'coverage: one side has nothing of it. units: the quantities differ. rate: the quantities agree and the amounts do not. Null: they agree.';

COMMENT ON COLUMN farebox_private.reconciliation_lines.implied_rate IS 'What the vendor charged for one unit, in US dollars.';

COMMENT ON COLUMN farebox_private.reconciliation_lines.booked_rate IS 'What the ledger has for one unit, in US dollars.';

CREATE VIEW farebox.reconciliation_lines AS
 SELECT reconciliation_lines.reconciliation_id,
    reconciliation_lines.line,
    reconciliation_lines.day,
    reconciliation_lines.id,
    reconciliation_lines.credential,
    reconciliation_lines.model,
    reconciliation_lines.meter,
    reconciliation_lines.vendor_quantity,
    reconciliation_lines.quantity,
    reconciliation_lines.vendor_cost_usd,
    reconciliation_lines.cost_usd,
    reconciliation_lines.quantity_difference,
    reconciliation_lines.cost_difference_usd,
    reconciliation_lines.cause,
    reconciliation_lines.implied_rate,
    reconciliation_lines.booked_rate
   FROM farebox_private.reconciliation_lines;

COMMENT ON VIEW farebox.reconciliation_lines IS 'What was compared with a vendor''s report, line by line. Empty for tenants.';

COMMENT ON COLUMN farebox.reconciliation_lines.reconciliation_id IS 'The comparison.';

COMMENT ON COLUMN farebox.reconciliation_lines.line IS 'Number of the line, from 1.';

COMMENT ON COLUMN farebox.reconciliation_lines.day IS 'The day, UTC; null where calls are compared one by one.';

COMMENT ON COLUMN farebox.reconciliation_lines.id IS 'The vendor''s request or response id; null where days are compared.';

COMMENT ON COLUMN farebox.reconciliation_lines.credential IS 'The provider credential, where the report names it.';

COMMENT ON COLUMN farebox.reconciliation_lines.model IS 'The model as the rate card names it; null: the report does not say.';

COMMENT ON COLUMN farebox.reconciliation_lines.meter IS 'What is counted; cost where the report has amounts without units.';

COMMENT ON COLUMN farebox.reconciliation_lines.vendor_quantity IS 'Units that the vendor reports.';

COMMENT ON COLUMN farebox.reconciliation_lines.quantity IS 'Units in the ledger, corrections included.';

COMMENT ON COLUMN farebox.reconciliation_lines.vendor_cost_usd IS 'What the vendor charges.';

COMMENT ON COLUMN farebox.reconciliation_lines.cost_usd IS 'Cost in the ledger, corrections included.';

COMMENT ON COLUMN farebox.reconciliation_lines.quantity_difference IS 'The vendor''s units less the ledger''s.';

COMMENT ON COLUMN farebox.reconciliation_lines.cost_difference_usd IS 'The vendor''s cost less the ledger''s.';

COMMENT ON COLUMN farebox.reconciliation_lines.cause IS 'coverage: one side has nothing of it. units: the quantities differ. rate: the quantities agree and the amounts do not. Null: they agree.';

COMMENT ON COLUMN farebox.reconciliation_lines.implied_rate IS 'What the vendor charged for one unit, in US dollars.';

COMMENT ON COLUMN farebox.reconciliation_lines.booked_rate IS 'What the ledger has for one unit, in US dollars.';

CREATE TABLE farebox_private.reconciliations (
    reconciliation_id uuid NOT NULL,
    provider text NOT NULL,
    from_day date NOT NULL,
    to_day date NOT NULL,
    by_id boolean NOT NULL,
    tolerance_usd farebox_private.usd NOT NULL,
    tolerance_percent numeric NOT NULL,
    lines bigint NOT NULL,
    disagreeing bigint NOT NULL,
    vendor_cost_usd farebox_private.usd,
    cost_usd farebox_private.usd,
    is_within boolean NOT NULL,
    files_sha256 text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    created_by text NOT NULL,
    CONSTRAINT days_in_order CHECK ((from_day < to_day)),
    CONSTRAINT tolerance_not_negative CHECK ((((tolerance_usd)::numeric >= (0)::numeric) AND (tolerance_percent >= (0)::numeric)))
);

ALTER TABLE ONLY farebox_private.reconciliations FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.reconciliations IS 'Comparisons of the ledger with a vendor''s own usage or cost report.';

COMMENT ON COLUMN farebox_private.reconciliations.reconciliation_id IS 'Identifier.';

COMMENT ON COLUMN farebox_private.reconciliations.provider IS 'The vendor.';

COMMENT ON COLUMN farebox_private.reconciliations.from_day IS 'First day compared, UTC.';

COMMENT ON COLUMN farebox_private.reconciliations.to_day IS 'The day after the last one.';

COMMENT ON COLUMN farebox_private.reconciliations.by_id IS 'Whether the vendor''s report names single calls, so that they are compared one by one.';

COMMENT ON COLUMN farebox_private.reconciliations.tolerance_usd IS 'A difference of cost up to this is none.';

COMMENT ON COLUMN farebox_private.reconciliations.tolerance_percent IS 'A difference of units or cost up to this share of the vendor''s is none.';

COMMENT ON COLUMN farebox_private.reconciliations.lines IS 'Lines compared.';

COMMENT ON COLUMN farebox_private.reconciliations.disagreeing IS 'Lines with a cause.';

COMMENT ON COLUMN farebox_private.reconciliations.vendor_cost_usd IS 'Sum of what the vendor reports; null: its report has no cost.';

COMMENT ON COLUMN farebox_private.reconciliations.cost_usd IS 'Sum of what the ledger has for the same lines; null: the report has no cost.';

COMMENT ON COLUMN farebox_private.reconciliations.is_within IS 'Whether no line has a cause.';

COMMENT ON COLUMN farebox_private.reconciliations.files_sha256 IS 'SHA-256 over the files compared.';

COMMENT ON COLUMN farebox_private.reconciliations.created_at IS 'When.';

COMMENT ON COLUMN farebox_private.reconciliations.created_by IS 'Who.';

CREATE VIEW farebox.reconciliations AS
 SELECT reconciliations.reconciliation_id,
    reconciliations.provider,
    reconciliations.from_day,
    reconciliations.to_day,
    reconciliations.by_id,
    reconciliations.tolerance_usd,
    reconciliations.tolerance_percent,
    reconciliations.lines,
    reconciliations.disagreeing,
    reconciliations.vendor_cost_usd,
    reconciliations.cost_usd,
    reconciliations.is_within,
    reconciliations.files_sha256,
    reconciliations.created_at,
    reconciliations.created_by
   FROM farebox_private.reconciliations;

COMMENT ON VIEW farebox.reconciliations IS 'Comparisons of the ledger with a vendor''s own usage or cost report. Empty for tenants.';

COMMENT ON COLUMN farebox.reconciliations.reconciliation_id IS 'Identifier.';

COMMENT ON COLUMN farebox.reconciliations.provider IS 'The vendor.';

COMMENT ON COLUMN farebox.reconciliations.from_day IS 'First day compared, UTC.';

COMMENT ON COLUMN farebox.reconciliations.to_day IS 'The day after the last one.';

COMMENT ON COLUMN farebox.reconciliations.by_id IS 'Whether the vendor''s report names single calls, so that they are compared one by one.';

COMMENT ON COLUMN farebox.reconciliations.tolerance_usd IS 'A difference of cost up to this is none.';

COMMENT ON COLUMN farebox.reconciliations.tolerance_percent IS 'A difference of units or cost up to this share of the vendor''s is none.';

COMMENT ON COLUMN farebox.reconciliations.lines IS 'Lines compared.';

COMMENT ON COLUMN farebox.reconciliations.disagreeing IS 'Lines with a cause.';

COMMENT ON COLUMN farebox.reconciliations.vendor_cost_usd IS 'Sum of what the vendor reports; null: its report has no cost.';

COMMENT ON COLUMN farebox.reconciliations.cost_usd IS 'Sum of what the ledger has for the same lines; null: the report has no cost.';

COMMENT ON COLUMN farebox.reconciliations.is_within IS 'Whether no line has a cause.';

COMMENT ON COLUMN farebox.reconciliations.files_sha256 IS 'SHA-256 over the files compared.';

COMMENT ON COLUMN farebox.reconciliations.created_at IS 'When.';

COMMENT ON COLUMN farebox.reconciliations.created_by IS 'Who.';

CREATE VIEW farebox.requests AS
 SELECT events.event_id AS request_id,
    events.call_id,
    events.tenant_id,
    events.tenant_id AS organization_id,
    COALESCE(customers.customer_id, events.customer_id) AS user_id,
    COALESCE(customers.customer_id, events.customer_id) AS customer_id,
    events.session_id,
    events.key_id AS api_key_id,
    events.provider,
    events.endpoint,
    COALESCE(events.model, events.model_requested) AS model,
        CASE
            WHEN (counted.usage <> '{}'::jsonb) THEN ((((((((((COALESCE(((counted.usage ->> 'input_tokens'::text))::numeric, (0)::numeric) + COALESCE(((counted.usage ->> 'cache_write_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'cache_write_1h_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'cache_write_12h_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'input_audio_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'input_image_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'input_video_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'cache_read_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'cache_read_audio_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'cache_read_image_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'cache_read_video_tokens'::text))::numeric, (0)::numeric))
            ELSE NULL::numeric
        END AS prompt_tokens,
        CASE
            WHEN (counted.usage <> '{}'::jsonb) THEN (((COALESCE(((counted.usage ->> 'output_tokens'::text))::numeric, (0)::numeric) + COALESCE(((counted.usage ->> 'reasoning_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'output_audio_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'output_image_tokens'::text))::numeric, (0)::numeric))
            ELSE NULL::numeric
        END AS completion_tokens,
        CASE
            WHEN (counted.usage <> '{}'::jsonb) THEN ((((((((((((((COALESCE(((counted.usage ->> 'input_tokens'::text))::numeric, (0)::numeric) + COALESCE(((counted.usage ->> 'cache_write_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'cache_write_1h_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'cache_write_12h_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'input_audio_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'input_image_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'input_video_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'cache_read_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'cache_read_audio_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'cache_read_image_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'cache_read_video_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'output_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'reasoning_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'output_audio_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'output_image_tokens'::text))::numeric, (0)::numeric))
            ELSE NULL::numeric
        END AS total_tokens,
        CASE
            WHEN (( SELECT farebox_private.sees_all() AS sees_all) OR (events.paid_by <> 'operator'::text)) THEN (events.cost_usd)::numeric
            ELSE NULL::numeric
        END AS cost_usd,
    events.billed_usd AS spend,
    events.status,
    events.ending,
    events.duration_ms AS latency_ms,
    events.ttft_ms AS time_to_first_token_ms,
    events.streaming AS stream,
    events.metadata AS properties,
    events.started_at AS created_at,
    events.started_at,
    events.ended_at
   FROM ((farebox_private.usage_events events
     LEFT JOIN farebox_private.customers ON (((customers.tenant_id = events.tenant_id) AND (customers.reference = events.customer_id))))
     CROSS JOIN LATERAL ( SELECT (events.usage)::jsonb AS usage
         OFFSET 0) counted);

COMMENT ON VIEW farebox.requests IS 'Events under the names that gateways'' request logs use.';

COMMENT ON COLUMN farebox.requests.request_id IS 'The event.';

COMMENT ON COLUMN farebox.requests.call_id IS 'The call.';

COMMENT ON COLUMN farebox.requests.tenant_id IS 'The tenant.';

COMMENT ON COLUMN farebox.requests.organization_id IS 'The tenant, as other tools name it.';

COMMENT ON COLUMN farebox.requests.user_id IS 'The end customer, as other tools name it.';

COMMENT ON COLUMN farebox.requests.customer_id IS 'The end customer.';

COMMENT ON COLUMN farebox.requests.session_id IS 'A conversation.';

COMMENT ON COLUMN farebox.requests.api_key_id IS 'The virtual key.';

COMMENT ON COLUMN farebox.requests.provider IS 'The vendor.';

COMMENT ON COLUMN farebox.requests.endpoint IS 'The kind of call.';

COMMENT ON COLUMN farebox.requests.model IS 'The model billed, or asked for.';

COMMENT ON COLUMN farebox.requests.prompt_tokens IS 'All input tokens; null: nothing known.';

COMMENT ON COLUMN farebox.requests.completion_tokens IS 'All output tokens.';

COMMENT ON COLUMN farebox.requests.total_tokens IS 'Both.';

COMMENT ON COLUMN farebox.requests.cost_usd IS 'What the provider charges. Tenants see it where the operator does not pay.';

COMMENT ON COLUMN farebox.requests.spend IS 'What the operator charges.';

COMMENT ON COLUMN farebox.requests.status IS 'The upstream''s HTTP status.';

COMMENT ON COLUMN farebox.requests.ending IS 'How the answer ended.';

COMMENT ON COLUMN farebox.requests.latency_ms IS 'To the answer''s last byte.';

COMMENT ON COLUMN farebox.requests.time_to_first_token_ms IS 'To the first generated output.';

COMMENT ON COLUMN farebox.requests.stream IS 'Whether it was a stream.';

COMMENT ON COLUMN farebox.requests.properties IS 'The caller''s labels.';

COMMENT ON COLUMN farebox.requests.created_at IS 'When the call started.';

COMMENT ON COLUMN farebox.requests.started_at IS 'When the call started.';

COMMENT ON COLUMN farebox.requests.ended_at IS 'When it ended.';

CREATE VIEW farebox.rule_margins AS
 SELECT sums.period,
    sums.tenant_id,
    sums.price_rule,
    trim_scale(sums.billed_usd) AS billed_usd,
    trim_scale(sums.cost_usd) AS cost_usd,
    trim_scale((sums.billed_usd - sums.cost_usd)) AS margin_usd,
    sums.charges,
        CASE
            WHEN (sums.billed_usd <> (0)::numeric) THEN round(((sums.billed_usd - sums.cost_usd) / sums.billed_usd), 4)
            ELSE NULL::numeric
        END AS margin_ratio,
    ((sums.billed_usd - sums.cost_usd) < (0.2 * sums.billed_usd)) AS is_thin,
    (sums.billed_usd < sums.cost_usd) AS is_negative
   FROM ( SELECT events.period,
            events.tenant_id,
            (charge.value ->> 8) AS price_rule,
            sum(((charge.value ->> 6))::numeric) AS billed_usd,
            sum(
                CASE
                    WHEN (events.paid_by = 'operator'::text) THEN COALESCE(((charge.value ->> 5))::numeric, (0)::numeric)
                    ELSE (0)::numeric
                END) AS cost_usd,
            count(*) AS charges
           FROM (farebox_private.usage_events events
             CROSS JOIN LATERAL jsonb_array_elements((events.charges)::jsonb) charge(value))
          WHERE (( SELECT farebox_private.sees_all() AS sees_all) AND (events.environment = 'live'::text) AND ((charge.value -> 6) <> 'null'::jsonb))
          GROUP BY events.period, events.tenant_id, (charge.value ->> 8)) sums;

COMMENT ON VIEW farebox.rule_margins IS 'Margins by selling rule, from the charges as first booked, without adjustments. Empty for tenants.';

COMMENT ON COLUMN farebox.rule_margins.period IS 'The month.';

COMMENT ON COLUMN farebox.rule_margins.tenant_id IS 'The tenant; null: unattributed.';

COMMENT ON COLUMN farebox.rule_margins.price_rule IS 'The selling rule''s name; cost, paid_by_other and covered are built in.';

COMMENT ON COLUMN farebox.rule_margins.billed_usd IS 'What the operator charges by it.';

COMMENT ON COLUMN farebox.rule_margins.cost_usd IS 'What the operator pays for the same, as far as it is known.';

COMMENT ON COLUMN farebox.rule_margins.margin_usd IS 'The difference.';

COMMENT ON COLUMN farebox.rule_margins.charges IS 'How many charges.';

COMMENT ON COLUMN farebox.rule_margins.margin_ratio IS 'The margin as a part of what was billed, to four decimals; null where nothing was billed.';

COMMENT ON COLUMN farebox.rule_margins.is_thin IS 'Whether the margin is less than a fifth of what was billed; negative ones are.';

COMMENT ON COLUMN farebox.rule_margins.is_negative IS 'Whether it cost more than was billed.';

CREATE VIEW farebox.runs AS
 SELECT events.tenant_id,
    events.run_id,
    max(events.session_id) AS session_id,
    max(COALESCE(customers.customer_id, events.customer_id)) AS customer_id,
    max(events.project) AS project,
    max(events.agent) AS agent,
    max(events.revision) AS revision,
    max(events.environment) AS environment,
    min(events.started_at) AS started_at,
    max(events.ended_at) AS ended_at,
    count(DISTINCT events.span_id) AS span_count,
    (sum(events.requests))::bigint AS request_count,
    (sum(events.events))::bigint AS event_count,
    (sum(events.errors))::bigint AS error_count,
    trim_scale(sum(events.cost_usd)) AS total_cost_usd,
    trim_scale(sum((events.billed_usd)::numeric)) AS total_billed_usd,
    (sum(events.unpriced_events))::bigint AS unpriced_events,
    (sum(events.unknown_events))::bigint AS unknown_events
   FROM (( SELECT events_1.tenant_id,
            events_1.run_id,
            events_1.customer_id,
            events_1.agent,
            events_1.project,
            events_1.environment,
            events_1.session_id,
            events_1.revision,
            COALESCE(events_1.span_id, events_1.parent_span_id) AS span_id,
            events_1.started_at,
            COALESCE(events_1.ended_at, events_1.started_at) AS ended_at,
            ((((events_1.attempt = 1) AND (events_1.part = 1)))::integer)::bigint AS requests,
            (1)::bigint AS events,
            (((events_1.ending <> ALL (ARRAY['complete'::text, 'continues'::text])))::integer)::bigint AS errors,
                CASE
                    WHEN (( SELECT farebox_private.sees_all() AS sees_all) OR (events_1.paid_by <> 'operator'::text)) THEN (events_1.cost_usd)::numeric
                    ELSE NULL::numeric
                END AS cost_usd,
            events_1.billed_usd,
            (((events_1.pricing = ANY (ARRAY['unpriced'::text, 'partial'::text])))::integer)::bigint AS unpriced_events,
            (((events_1.pricing = 'unknown'::text))::integer)::bigint AS unknown_events
           FROM farebox_private.usage_events events_1
          WHERE (events_1.run_id IS NOT NULL)
        UNION ALL
         SELECT adjustments.tenant_id,
            adjustments.run_id,
            adjustments.customer_id,
            moved.agent,
            adjustments.project,
            adjustments.environment,
            adjustments.session_id,
            moved.revision,
            COALESCE(moved.span_id, moved.parent_span_id) AS "coalesce",
            adjustments.started_at,
            COALESCE(moved.ended_at, adjustments.started_at) AS "coalesce",
                CASE
                    WHEN (adjustments.meter = 'calls'::text) THEN (adjustments.quantity)::bigint
                    ELSE (0)::bigint
                END AS "case",
            adjustments.events,
                CASE
                    WHEN (moved.ending <> ALL (ARRAY['complete'::text, 'continues'::text])) THEN adjustments.events
                    ELSE (0)::bigint
                END AS "case",
                CASE
                    WHEN (( SELECT farebox_private.sees_all() AS sees_all) OR (adjustments.paid_by <> 'operator'::text)) THEN (adjustments.cost_usd)::numeric
                    ELSE NULL::numeric
                END AS "case",
            adjustments.billed_usd,
            adjustments.unpriced_events,
                CASE
                    WHEN (adjustments.pricing = 'unknown'::text) THEN adjustments.events
                    ELSE (0)::bigint
                END AS "case"
           FROM (farebox_private.adjustments
             LEFT JOIN farebox_private.usage_events moved ON (((moved.event_id = adjustments.event_id) AND (adjustments.events <> 0))))
          WHERE (adjustments.run_id IS NOT NULL)) events
     LEFT JOIN farebox_private.customers ON (((customers.tenant_id = events.tenant_id) AND (customers.reference = events.customer_id))))
  GROUP BY events.tenant_id, events.run_id
 HAVING (sum(events.events) > (0)::numeric);

COMMENT ON VIEW farebox.runs IS 'Runs of agents, by x-farebox-run or the trace id of traceparent, with their current sums.';

COMMENT ON COLUMN farebox.runs.tenant_id IS 'The tenant; null: unattributed.';

COMMENT ON COLUMN farebox.runs.run_id IS 'The caller''s own id, or the trace id, unique in its tenant.';

COMMENT ON COLUMN farebox.runs.session_id IS 'A conversation.';

COMMENT ON COLUMN farebox.runs.customer_id IS 'The tenant''s end customer.';

COMMENT ON COLUMN farebox.runs.project IS 'A project of the tenant.';

COMMENT ON COLUMN farebox.runs.agent IS 'An agent of the tenant.';

COMMENT ON COLUMN farebox.runs.revision IS 'The agent''s revision.';

COMMENT ON COLUMN farebox.runs.environment IS 'live or test.';

COMMENT ON COLUMN farebox.runs.started_at IS 'Begin of its first call.';

COMMENT ON COLUMN farebox.runs.ended_at IS 'End of its latest call, or that call''s begin where the end is not known.';

COMMENT ON COLUMN farebox.runs.span_count IS 'Steps in which something was called.';

COMMENT ON COLUMN farebox.runs.request_count IS 'Calls: attempts after the first and later parts of a socket are not counted.';

COMMENT ON COLUMN farebox.runs.event_count IS 'Rows of usage_events.';

COMMENT ON COLUMN farebox.runs.error_count IS 'Events that did not end complete.';

COMMENT ON COLUMN farebox.runs.total_cost_usd IS 'What the providers charge, as far as priced, with all adjustments booked to the tenant; tenants see what they pay themselves.';

COMMENT ON COLUMN farebox.runs.total_billed_usd IS 'What the operator charges, as far as priced, with all adjustments booked to the tenant.';

COMMENT ON COLUMN farebox.runs.unpriced_events IS 'Events with pricing unpriced or partial.';

COMMENT ON COLUMN farebox.runs.unknown_events IS 'Events of which no usage is known.';

CREATE VIEW farebox.sequence_holes AS
 SELECT received.node,
    received.epoch,
    lower(hole.hole) AS first_seq,
    (upper(hole.hole) - 1) AS last_seq,
    (upper(hole.hole) - lower(hole.hole)) AS missing
   FROM (farebox_private.received_sequences received
     CROSS JOIN LATERAL unnest((int8multirange(int8range((1)::bigint, upper(received.ranges))) - received.ranges)) hole(hole))
  WHERE (( SELECT farebox_private.sees_all() AS sees_all) AND (NOT isempty(received.ranges)));

COMMENT ON VIEW farebox.sequence_holes IS 'Settlements that a proxy numbered and that have not arrived, though later ones of the same process have. Empty for tenants.';

COMMENT ON COLUMN farebox.sequence_holes.node IS 'The proxy.';

COMMENT ON COLUMN farebox.sequence_holes.epoch IS 'Its process start.';

COMMENT ON COLUMN farebox.sequence_holes.first_seq IS 'First number that is missing.';

COMMENT ON COLUMN farebox.sequence_holes.last_seq IS 'Last number that is missing before the next that came.';

COMMENT ON COLUMN farebox.sequence_holes.missing IS 'How many these are.';

CREATE VIEW farebox.sessions AS
 SELECT events.tenant_id,
    events.session_id,
    max(COALESCE(customers.customer_id, events.customer_id)) AS customer_id,
    max(events.agent) AS agent,
    max(events.environment) AS environment,
    min(events.started_at) AS started_at,
    max(events.ended_at) AS ended_at,
    (sum(events.requests))::bigint AS request_count,
    (sum(events.events))::bigint AS event_count,
    (sum(events.errors))::bigint AS error_count,
    trim_scale(sum(events.cost_usd)) AS total_cost_usd,
    trim_scale(sum((events.billed_usd)::numeric)) AS total_billed_usd,
    (sum(events.unpriced_events))::bigint AS unpriced_events,
    (sum(events.unknown_events))::bigint AS unknown_events,
    max(events.project) AS project,
    array_agg(DISTINCT farebox_private.modality(events.endpoint)) AS modalities,
    array_agg(DISTINCT events.provider) AS providers,
    (max(events.ended_at) > (now() - farebox_private.session_idle())) AS is_open,
        CASE
            WHEN (max(events.ended_at) <= (now() - farebox_private.session_idle())) THEN (max(events.ended_at) + farebox_private.session_idle())
            ELSE NULL::timestamp with time zone
        END AS closed_at
   FROM (( SELECT events_1.tenant_id,
            events_1.session_id,
            events_1.customer_id,
            events_1.agent,
            events_1.project,
            events_1.environment,
            events_1.provider,
            events_1.endpoint,
            events_1.started_at,
            COALESCE(events_1.ended_at, events_1.started_at) AS ended_at,
            ((((events_1.attempt = 1) AND (events_1.part = 1)))::integer)::bigint AS requests,
            (1)::bigint AS events,
            (((events_1.ending <> ALL (ARRAY['complete'::text, 'continues'::text])))::integer)::bigint AS errors,
                CASE
                    WHEN (( SELECT farebox_private.sees_all() AS sees_all) OR (events_1.paid_by <> 'operator'::text)) THEN (events_1.cost_usd)::numeric
                    ELSE NULL::numeric
                END AS cost_usd,
            events_1.billed_usd,
            (((events_1.pricing = ANY (ARRAY['unpriced'::text, 'partial'::text])))::integer)::bigint AS unpriced_events,
            (((events_1.pricing = 'unknown'::text))::integer)::bigint AS unknown_events
           FROM farebox_private.usage_events events_1
          WHERE (events_1.session_id IS NOT NULL)
        UNION ALL
         SELECT adjustments.tenant_id,
            adjustments.session_id,
            adjustments.customer_id,
            moved.agent,
            adjustments.project,
            adjustments.environment,
            adjustments.provider,
            adjustments.endpoint,
            adjustments.started_at,
            COALESCE(moved.ended_at, adjustments.started_at) AS "coalesce",
                CASE
                    WHEN (adjustments.meter = 'calls'::text) THEN (adjustments.quantity)::bigint
                    ELSE (0)::bigint
                END AS "case",
            adjustments.events,
                CASE
                    WHEN (moved.ending <> ALL (ARRAY['complete'::text, 'continues'::text])) THEN adjustments.events
                    ELSE (0)::bigint
                END AS "case",
                CASE
                    WHEN (( SELECT farebox_private.sees_all() AS sees_all) OR (adjustments.paid_by <> 'operator'::text)) THEN (adjustments.cost_usd)::numeric
                    ELSE NULL::numeric
                END AS "case",
            adjustments.billed_usd,
            adjustments.unpriced_events,
                CASE
                    WHEN (adjustments.pricing = 'unknown'::text) THEN adjustments.events
                    ELSE (0)::bigint
                END AS "case"
           FROM (farebox_private.adjustments
             LEFT JOIN farebox_private.usage_events moved ON (((moved.event_id = adjustments.event_id) AND (adjustments.events <> 0))))
          WHERE (adjustments.session_id IS NOT NULL)) events
     LEFT JOIN farebox_private.customers ON (((customers.tenant_id = events.tenant_id) AND (customers.reference = events.customer_id))))
  GROUP BY events.tenant_id, events.session_id
 HAVING (sum(events.events) > (0)::numeric);

COMMENT ON VIEW farebox.sessions IS 'Conversations, one for each tenant and session id, with their current sums. A session in which nothing happened for 30 minutes is closed; a later call under the same id opens it again.';

COMMENT ON COLUMN farebox.sessions.tenant_id IS 'The tenant; null: unattributed.';

COMMENT ON COLUMN farebox.sessions.session_id IS 'The caller''s own id, unique in its tenant.';

COMMENT ON COLUMN farebox.sessions.customer_id IS 'The tenant''s end customer.';

COMMENT ON COLUMN farebox.sessions.agent IS 'An agent of the tenant.';

COMMENT ON COLUMN farebox.sessions.environment IS 'live or test.';

COMMENT ON COLUMN farebox.sessions.started_at IS 'Begin of its first call.';

COMMENT ON COLUMN farebox.sessions.ended_at IS 'End of its latest call, or that call''s begin where the end is not known.';

COMMENT ON COLUMN farebox.sessions.request_count IS 'Calls: attempts after the first and later parts of a socket are not counted.';

COMMENT ON COLUMN farebox.sessions.event_count IS 'Rows of usage_events.';

COMMENT ON COLUMN farebox.sessions.error_count IS 'Events that did not end complete.';

COMMENT ON COLUMN farebox.sessions.total_cost_usd IS 'What the providers charge, as far as priced, with all adjustments booked to the tenant; tenants see what they pay themselves.';

COMMENT ON COLUMN farebox.sessions.total_billed_usd IS 'What the operator charges, as far as priced, with all adjustments booked to the tenant.';

COMMENT ON COLUMN farebox.sessions.unpriced_events IS 'Events with pricing unpriced or partial.';

COMMENT ON COLUMN farebox.sessions.unknown_events IS 'Events of which no usage is known.';

COMMENT ON COLUMN farebox.sessions.project IS 'A project of the tenant.';

COMMENT ON COLUMN farebox.sessions.modalities IS 'What it was made of: text, speech_to_text, text_to_speech, voice, image, video, ocr, retrieval, batch, other.';

COMMENT ON COLUMN farebox.sessions.providers IS 'The vendors called.';

COMMENT ON COLUMN farebox.sessions.is_open IS 'Whether something happened in the last 30 minutes.';

COMMENT ON COLUMN farebox.sessions.closed_at IS 'When it counted as closed, 30 minutes after ended_at; null while open.';

CREATE VIEW farebox.spans AS
 SELECT steps.tenant_id,
    steps.run_id,
    steps.span_id,
    steps.parent_span_id,
    steps.section,
        CASE
            WHEN ((split_part(steps.section, ':'::text, 1) = ANY (ARRAY['agent'::text, 'tool'::text, 'step'::text])) AND (steps.section ~~ '%:%'::text)) THEN split_part(steps.section, ':'::text, 1)
            ELSE NULL::text
        END AS kind,
        CASE
            WHEN ((split_part(steps.section, ':'::text, 1) = ANY (ARRAY['agent'::text, 'tool'::text, 'step'::text])) AND (steps.section ~~ '%:%'::text)) THEN substr(steps.section, (strpos(steps.section, ':'::text) + 1))
            ELSE steps.section
        END AS name,
    (walk.path || steps.span_id) AS path,
    (walk.sections || COALESCE(steps.section, steps.span_id)) AS sections,
    (cardinality(walk.path) + 1) AS depth,
    steps.started_at,
    steps.ended_at,
    steps.request_count,
    steps.event_count,
    steps.error_count,
    steps.total_cost_usd,
    steps.total_billed_usd,
    steps.unpriced_events,
    steps.unknown_events
   FROM (( SELECT events.tenant_id,
            events.run_id,
            COALESCE(events.span_id, events.parent_span_id) AS span_id,
            max(
                CASE
                    WHEN (events.span_id IS NOT NULL) THEN events.parent_span_id
                    ELSE NULL::text
                END) AS parent_span_id,
            max(events.section) AS section,
            min(events.started_at) AS started_at,
            max(COALESCE(events.ended_at, events.started_at)) AS ended_at,
            count(*) FILTER (WHERE ((events.attempt = 1) AND (events.part = 1))) AS request_count,
            count(*) AS event_count,
            count(*) FILTER (WHERE (events.ending <> ALL (ARRAY['complete'::text, 'continues'::text]))) AS error_count,
            trim_scale(sum((COALESCE((events.cost_usd)::numeric, (0)::numeric) + COALESCE(adjusted.cost_usd, (0)::numeric))) FILTER (WHERE ((( SELECT farebox_private.sees_all() AS sees_all) OR (events.paid_by <> 'operator'::text)) AND ((events.cost_usd IS NOT NULL) OR (adjusted.cost_usd IS NOT NULL))))) AS total_cost_usd,
            trim_scale(sum((COALESCE((events.billed_usd)::numeric, (0)::numeric) + COALESCE(adjusted.billed_usd, (0)::numeric))) FILTER (WHERE ((events.billed_usd IS NOT NULL) OR (adjusted.billed_usd IS NOT NULL)))) AS total_billed_usd,
            count(*) FILTER (WHERE (events.pricing = ANY (ARRAY['unpriced'::text, 'partial'::text]))) AS unpriced_events,
            count(*) FILTER (WHERE (events.pricing = 'unknown'::text)) AS unknown_events
           FROM (farebox_private.usage_events events
             LEFT JOIN LATERAL ( SELECT sum((adjustments.cost_usd)::numeric) AS cost_usd,
                    sum((adjustments.billed_usd)::numeric) AS billed_usd
                   FROM farebox_private.adjustments
                  WHERE ((adjustments.event_id = events.event_id) AND (NOT (adjustments.tenant_id IS DISTINCT FROM events.tenant_id)))) adjusted ON (true))
          WHERE ((events.run_id IS NOT NULL) AND (COALESCE(events.span_id, events.parent_span_id) IS NOT NULL))
          GROUP BY events.tenant_id, events.run_id, COALESCE(events.span_id, events.parent_span_id)) steps
     CROSS JOIN LATERAL ( WITH RECURSIVE above(path, sections, next_span_id) AS (
                 SELECT ARRAY[]::text[] AS "array",
                    ARRAY[]::text[] AS "array",
                    steps.parent_span_id
                UNION ALL
                 SELECT array_prepend(above_1.next_span_id, above_1.path) AS array_prepend,
                    array_prepend(COALESCE(parent.section, above_1.next_span_id), above_1.sections) AS array_prepend,
                    parent.parent_span_id
                   FROM (above above_1
                     LEFT JOIN LATERAL ( SELECT max(
                                CASE
                                    WHEN (events.span_id IS NOT NULL) THEN events.parent_span_id
                                    ELSE NULL::text
                                END) AS parent_span_id,
                            max(events.section) AS section
                           FROM farebox_private.usage_events events
                          WHERE ((events.run_id = steps.run_id) AND (NOT (events.tenant_id IS DISTINCT FROM steps.tenant_id)) AND (events.span_id = above_1.next_span_id))) parent ON (true))
                  WHERE ((above_1.next_span_id IS NOT NULL) AND (above_1.next_span_id <> steps.span_id) AND (above_1.next_span_id <> ALL (above_1.path)) AND (cardinality(above_1.path) < 64))
                )
         SELECT above.path,
            above.sections
           FROM above
          ORDER BY (cardinality(above.path)) DESC
         LIMIT 1) walk);

COMMENT ON VIEW farebox.spans IS 'Steps of runs, as a tree: by x-farebox-span and x-farebox-parent-span, or the parent id of traceparent. Sums are the step''s own; a path that holds a step''s id holds everything below it.';

COMMENT ON COLUMN farebox.spans.tenant_id IS 'The tenant; null: unattributed.';

COMMENT ON COLUMN farebox.spans.run_id IS 'The run.';

COMMENT ON COLUMN farebox.spans.span_id IS 'The step; unique in its run.';

COMMENT ON COLUMN farebox.spans.parent_span_id IS 'The step above it; null: a root, or none was named.';

COMMENT ON COLUMN farebox.spans.section IS 'As sent, such as agent:planner, tool:search or step:2.';

COMMENT ON COLUMN farebox.spans.kind IS 'agent, tool or step, when the section begins with it.';

COMMENT ON COLUMN farebox.spans.name IS 'The section without its kind.';

COMMENT ON COLUMN farebox.spans.path IS 'Ids from the root to this step, at most 64.';

COMMENT ON COLUMN farebox.spans.sections IS 'Sections from the root to this step; an id stands for a step without one.';

COMMENT ON COLUMN farebox.spans.depth IS 'Length of the path: 1 for a root.';

COMMENT ON COLUMN farebox.spans.started_at IS 'Begin of its first call.';

COMMENT ON COLUMN farebox.spans.ended_at IS 'End of its latest call, or that call''s begin where the end is not known.';

COMMENT ON COLUMN farebox.spans.request_count IS 'Calls made in this step itself.';

COMMENT ON COLUMN farebox.spans.event_count IS 'Rows of usage_events.';

COMMENT ON COLUMN farebox.spans.error_count IS 'Events that did not end complete.';

COMMENT ON COLUMN farebox.spans.total_cost_usd IS 'What the providers charge, as far as priced, with all adjustments booked to the tenant; tenants see what they pay themselves.';

COMMENT ON COLUMN farebox.spans.total_billed_usd IS 'What the operator charges, as far as priced, with all adjustments booked to the tenant.';

COMMENT ON COLUMN farebox.spans.unpriced_events IS 'Events with pricing unpriced or partial.';

COMMENT ON COLUMN farebox.spans.unknown_events IS 'Events of which no usage is known.';

CREATE TABLE farebox_private.deployment (
    name text NOT NULL,
    value jsonb NOT NULL,
    changed_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE ONLY farebox_private.deployment FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.deployment IS 'Defaults of the whole deployment that views go by; the collector writes what its configuration says.';

COMMENT ON COLUMN farebox_private.deployment.name IS 'stale_after_days (90 when absent).';

COMMENT ON COLUMN farebox_private.deployment.value IS 'The value.';

COMMENT ON COLUMN farebox_private.deployment.changed_at IS 'When it was last changed.';

CREATE VIEW farebox.stale_keys AS
 SELECT keys.key_id,
    keys.prefix,
    keys.name,
    keys.tenant_id,
    keys.environment,
    keys.created_at,
    activity.last_used_at,
    allowed.days AS stale_after_days,
    (EXTRACT(day FROM (now() - COALESCE(activity.last_used_at, keys.created_at))))::integer AS idle_days
   FROM (((farebox_private.virtual_keys keys
     LEFT JOIN farebox_private.key_activity activity USING (key_id))
     LEFT JOIN farebox_private.tenants USING (tenant_id))
     CROSS JOIN LATERAL ( SELECT COALESCE(keys.stale_after_days, ((tenants.settings ->> 'stale_after_days'::text))::integer, ( SELECT ((deployment.value #>> '{}'::text[]))::integer AS int4
                   FROM farebox_private.deployment
                  WHERE (deployment.name = 'stale_after_days'::text)), 90) AS days) allowed)
  WHERE ((keys.revoked_at IS NULL) AND ((keys.expires_at IS NULL) OR (keys.expires_at > now())) AND (COALESCE(activity.last_used_at, keys.created_at) < (now() - make_interval(days => allowed.days))));

COMMENT ON VIEW farebox.stale_keys IS 'Virtual keys that work and were not used for longer than they may: 90 days, unless key, tenant or deployment says otherwise.';

COMMENT ON COLUMN farebox.stale_keys.key_id IS 'Identifier of the key.';

COMMENT ON COLUMN farebox.stale_keys.prefix IS 'The first eight characters, visible and unique.';

COMMENT ON COLUMN farebox.stale_keys.name IS 'A name for people.';

COMMENT ON COLUMN farebox.stale_keys.tenant_id IS 'The key''s own tenant, or null.';

COMMENT ON COLUMN farebox.stale_keys.environment IS 'live or test.';

COMMENT ON COLUMN farebox.stale_keys.created_at IS 'When it was issued.';

COMMENT ON COLUMN farebox.stale_keys.last_used_at IS 'When it was used last; null: never.';

COMMENT ON COLUMN farebox.stale_keys.stale_after_days IS 'Days without use that it is allowed.';

COMMENT ON COLUMN farebox.stale_keys.idle_days IS 'Whole days since it was used last, or issued.';

CREATE TABLE farebox_private.tenant_activity (
    tenant_id text NOT NULL,
    first_seen timestamp with time zone NOT NULL,
    last_seen timestamp with time zone NOT NULL,
    changed_at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY farebox_private.tenant_activity FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.tenant_activity IS 'When a tenant''s calls were seen; apart from tenants so that ingest does not touch the directory.';

COMMENT ON COLUMN farebox_private.tenant_activity.tenant_id IS 'The tenant.';

COMMENT ON COLUMN farebox_private.tenant_activity.first_seen IS 'Earliest started_at of its events.';

COMMENT ON COLUMN farebox_private.tenant_activity.last_seen IS 'Latest started_at of its events.';

COMMENT ON COLUMN farebox_private.tenant_activity.changed_at IS 'When the collector had the event that changed it last; a list that was begun before goes by what was seen then.';

CREATE TABLE farebox_private.tenant_sessions (
    tenant_id text NOT NULL,
    session uuid NOT NULL
);

ALTER TABLE ONLY farebox_private.tenant_sessions FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.tenant_sessions IS 'The sessions that events were first booked under, so that they are counted without their events; retention leaves them.';

COMMENT ON COLUMN farebox_private.tenant_sessions.tenant_id IS 'The tenant.';

COMMENT ON COLUMN farebox_private.tenant_sessions.session IS 'session_digest of the session''s id.';

CREATE VIEW farebox.tenant_index AS
 SELECT activity.tenant_id,
    tenants.name,
    tenants.status,
    (( SELECT count(*) AS count
           FROM farebox_private.tenant_sessions sessions
          WHERE (sessions.tenant_id = activity.tenant_id)) + ( SELECT COALESCE(sum(((((0)::numeric < ((( SELECT count(*) AS count
                   FROM farebox_private.usage_events events
                  WHERE ((events.tenant_id = activity.tenant_id) AND (events.session_id = moved.session_id))))::numeric + ( SELECT COALESCE(sum(adjustments.events), (0)::numeric) AS "coalesce"
                   FROM farebox_private.adjustments
                  WHERE ((adjustments.tenant_id = activity.tenant_id) AND (adjustments.session_id = moved.session_id))))))::integer - ((EXISTS ( SELECT
                   FROM farebox_private.tenant_sessions sessions
                  WHERE ((sessions.tenant_id = activity.tenant_id) AND (sessions.session = farebox_private.session_digest(moved.session_id))))))::integer)), (0)::bigint) AS "coalesce"
           FROM ( SELECT DISTINCT adjustments.session_id
                   FROM farebox_private.adjustments
                  WHERE ((adjustments.tenant_id = activity.tenant_id) AND (adjustments.events <> 0) AND (adjustments.session_id IS NOT NULL))) moved)) AS session_count,
    sums.request_count,
    sums.total_cost_usd,
    sums.total_billed_usd,
    sums.unpriced_events,
    activity.first_seen,
    activity.last_seen
   FROM ((farebox_private.tenant_activity activity
     LEFT JOIN farebox_private.tenants USING (tenant_id))
     LEFT JOIN LATERAL ( SELECT (COALESCE(sum(totals.quantity) FILTER (WHERE (totals.meter = 'calls'::text)), (0)::numeric))::bigint AS request_count,
            trim_scale(sum((totals.cost_usd)::numeric) FILTER (WHERE (( SELECT farebox_private.sees_all() AS sees_all) OR (totals.paid_by <> 'operator'::text)))) AS total_cost_usd,
            trim_scale(COALESCE(sum((totals.billed_usd)::numeric), (0)::numeric)) AS total_billed_usd,
            (COALESCE(sum(totals.unpriced_events), (0)::numeric))::bigint AS unpriced_events
           FROM farebox_private.usage_totals totals
          WHERE (totals.tenant_id = activity.tenant_id)) sums ON (true));

COMMENT ON VIEW farebox.tenant_index IS 'Tenants that were seen, with their current sums. Order by last_seen desc for the most recent first.';

COMMENT ON COLUMN farebox.tenant_index.tenant_id IS 'The tenant.';

COMMENT ON COLUMN farebox.tenant_index.name IS 'A name for people.';

COMMENT ON COLUMN farebox.tenant_index.status IS 'active, suspended (refused) or archived (refused and hidden).';

COMMENT ON COLUMN farebox.tenant_index.session_count IS 'Different sessions, those of events that retention removed included.';

COMMENT ON COLUMN farebox.tenant_index.request_count IS 'Calls.';

COMMENT ON COLUMN farebox.tenant_index.total_cost_usd IS 'What the providers charge, adjustments included; for tenants only what they pay themselves, else null.';

COMMENT ON COLUMN farebox.tenant_index.total_billed_usd IS 'What the operator charges, adjustments included.';

COMMENT ON COLUMN farebox.tenant_index.unpriced_events IS 'Events with pricing unpriced or partial.';

COMMENT ON COLUMN farebox.tenant_index.first_seen IS 'Earliest started_at of its events.';

COMMENT ON COLUMN farebox.tenant_index.last_seen IS 'Latest started_at of its events.';

CREATE VIEW farebox.tenants AS
 SELECT tenants.tenant_id,
    tenants.name,
    tenants.status,
    tenants.plan,
    tenants.time_zone,
        CASE
            WHEN ( SELECT farebox_private.sees_all() AS sees_all) THEN tenants.settings
            ELSE NULL::jsonb
        END AS settings,
    tenants.created_at,
        CASE
            WHEN ( SELECT farebox_private.sees_all() AS sees_all) THEN tenants.created_by
            ELSE NULL::text
        END AS created_by,
    activity.first_seen,
    activity.last_seen,
    tenants.status_reason
   FROM (farebox_private.tenants
     LEFT JOIN farebox_private.tenant_activity activity USING (tenant_id));

COMMENT ON VIEW farebox.tenants IS 'Tenants, with when their calls were seen.';

COMMENT ON COLUMN farebox.tenants.tenant_id IS 'The identifier used on the wire.';

COMMENT ON COLUMN farebox.tenants.name IS 'A name for people.';

COMMENT ON COLUMN farebox.tenants.status IS 'active, suspended (refused) or archived (refused and hidden).';

COMMENT ON COLUMN farebox.tenants.plan IS 'Selling rules may go by it.';

COMMENT ON COLUMN farebox.tenants.time_zone IS 'IANA name; decides the tenant''s days and months.';

COMMENT ON COLUMN farebox.tenants.settings IS 'Settings by name: on_unrecordable, spool_sync, stream_usage, unpriced_models, …. Null for tenants.';

COMMENT ON COLUMN farebox.tenants.created_at IS 'When the tenant was made.';

COMMENT ON COLUMN farebox.tenants.created_by IS 'Who made it; ingest when its first event did. Null for tenants.';

COMMENT ON COLUMN farebox.tenants.first_seen IS 'Earliest started_at of its events.';

COMMENT ON COLUMN farebox.tenants.last_seen IS 'Latest started_at of its events.';

COMMENT ON COLUMN farebox.tenants.status_reason IS 'Why it is suspended or archived; told to its callers.';

CREATE VIEW farebox.trace_events AS
 SELECT events.event_id AS id,
    events.call_id,
    events.run_id,
    events.span_id,
    events.parent_span_id,
    events.section,
    events.session_id,
    events.tenant_id,
    COALESCE(customers.customer_id, events.customer_id) AS customer_id,
    events.project,
    events.agent,
    events.provider,
    events.endpoint,
    COALESCE(events.model, events.model_requested) AS model,
        CASE
            WHEN (counted.usage <> '{}'::jsonb) THEN ((((((((((COALESCE(((counted.usage ->> 'input_tokens'::text))::numeric, (0)::numeric) + COALESCE(((counted.usage ->> 'cache_write_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'cache_write_1h_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'cache_write_12h_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'input_audio_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'input_image_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'input_video_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'cache_read_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'cache_read_audio_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'cache_read_image_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'cache_read_video_tokens'::text))::numeric, (0)::numeric))
            ELSE NULL::numeric
        END AS input_tokens,
        CASE
            WHEN (counted.usage <> '{}'::jsonb) THEN (((COALESCE(((counted.usage ->> 'cache_read_tokens'::text))::numeric, (0)::numeric) + COALESCE(((counted.usage ->> 'cache_read_audio_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'cache_read_image_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'cache_read_video_tokens'::text))::numeric, (0)::numeric))
            ELSE NULL::numeric
        END AS cached_tokens,
        CASE
            WHEN (counted.usage <> '{}'::jsonb) THEN (((COALESCE(((counted.usage ->> 'output_tokens'::text))::numeric, (0)::numeric) + COALESCE(((counted.usage ->> 'reasoning_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'output_audio_tokens'::text))::numeric, (0)::numeric)) + COALESCE(((counted.usage ->> 'output_image_tokens'::text))::numeric, (0)::numeric))
            ELSE NULL::numeric
        END AS output_tokens,
    counted.usage,
        CASE
            WHEN (( SELECT farebox_private.sees_all() AS sees_all) OR (events.paid_by <> 'operator'::text)) THEN (events.cost_usd)::numeric
            ELSE NULL::numeric
        END AS cost_usd,
    events.billed_usd,
    events.pricing,
    events.status AS status_code,
        CASE
            WHEN (events.ending = ANY (ARRAY['complete'::text, 'continues'::text])) THEN 'ok'::text
            ELSE 'error'::text
        END AS status,
    events.ending,
    events.duration_ms AS latency_ms,
    events.ttft_ms,
    events.streaming,
    events.metadata,
    events.started_at AS created_at,
    events.ended_at
   FROM ((farebox_private.usage_events events
     LEFT JOIN farebox_private.customers ON (((customers.tenant_id = events.tenant_id) AND (customers.reference = events.customer_id))))
     CROSS JOIN LATERAL ( SELECT (events.usage)::jsonb AS usage
         OFFSET 0) counted);

COMMENT ON VIEW farebox.trace_events IS 'Events under the names that tracing tools use.';

COMMENT ON COLUMN farebox.trace_events.id IS 'The event.';

COMMENT ON COLUMN farebox.trace_events.call_id IS 'The call.';

COMMENT ON COLUMN farebox.trace_events.run_id IS 'A run of an agent.';

COMMENT ON COLUMN farebox.trace_events.span_id IS 'A step of the run.';

COMMENT ON COLUMN farebox.trace_events.parent_span_id IS 'The step above it.';

COMMENT ON COLUMN farebox.trace_events.section IS 'A part of the product.';

COMMENT ON COLUMN farebox.trace_events.session_id IS 'A conversation.';

COMMENT ON COLUMN farebox.trace_events.tenant_id IS 'The tenant.';

COMMENT ON COLUMN farebox.trace_events.customer_id IS 'The end customer.';

COMMENT ON COLUMN farebox.trace_events.project IS 'A project.';

COMMENT ON COLUMN farebox.trace_events.agent IS 'An agent.';

COMMENT ON COLUMN farebox.trace_events.provider IS 'The vendor.';

COMMENT ON COLUMN farebox.trace_events.endpoint IS 'The kind of call.';

COMMENT ON COLUMN farebox.trace_events.model IS 'The model billed, or asked for.';

COMMENT ON COLUMN farebox.trace_events.input_tokens IS 'All input tokens, cached ones included; null: nothing known.';

COMMENT ON COLUMN farebox.trace_events.cached_tokens IS 'Input tokens served from a cache.';

COMMENT ON COLUMN farebox.trace_events.output_tokens IS 'All output tokens, reasoning included.';

COMMENT ON COLUMN farebox.trace_events.usage IS 'The lines'' sum, exact decimals as strings by meter.';

COMMENT ON COLUMN farebox.trace_events.cost_usd IS 'What the provider charges. Tenants see it where the operator does not pay.';

COMMENT ON COLUMN farebox.trace_events.billed_usd IS 'What the operator charges.';

COMMENT ON COLUMN farebox.trace_events.pricing IS 'How far it is priced.';

COMMENT ON COLUMN farebox.trace_events.status_code IS 'The upstream''s HTTP status.';

COMMENT ON COLUMN farebox.trace_events.status IS 'ok or error.';

COMMENT ON COLUMN farebox.trace_events.ending IS 'How the answer ended.';

COMMENT ON COLUMN farebox.trace_events.latency_ms IS 'To the answer''s last byte.';

COMMENT ON COLUMN farebox.trace_events.ttft_ms IS 'To the first generated output.';

COMMENT ON COLUMN farebox.trace_events.streaming IS 'Whether it was a stream.';

COMMENT ON COLUMN farebox.trace_events.metadata IS 'The caller''s labels.';

COMMENT ON COLUMN farebox.trace_events.created_at IS 'When the call started.';

COMMENT ON COLUMN farebox.trace_events.ended_at IS 'When it ended.';

CREATE VIEW farebox.turns AS
 SELECT events.event_id,
    events.call_id,
    events.tenant_id,
    COALESCE(customers.customer_id, events.customer_id) AS customer_id,
    events.session_id,
    events.run_id,
    events.part AS turn,
    events.provider,
    events.endpoint,
    COALESCE(events.model, events.model_requested) AS model,
    events.started_at,
    events.ended_at,
    events.duration_ms,
        CASE
            WHEN (events.part > 1) THEN events.ttft_ms
            ELSE NULL::numeric
        END AS response_ms,
    NULL::numeric AS talk_over_ms,
    events.ending,
    events.is_final,
    (events.usage)::jsonb AS usage,
        CASE
            WHEN (( SELECT farebox_private.sees_all() AS sees_all) OR (events.paid_by <> 'operator'::text)) THEN (events.cost_usd)::numeric
            ELSE NULL::numeric
        END AS cost_usd,
    events.billed_usd
   FROM (farebox_private.usage_events events
     LEFT JOIN farebox_private.customers ON (((customers.tenant_id = events.tenant_id) AND (customers.reference = events.customer_id))))
  WHERE ((events.transport = 'websocket'::text) AND (events.endpoint = ANY (ARRAY['realtime'::text, 'agent'::text, 'listen'::text, 'speak'::text])));

COMMENT ON VIEW farebox.turns IS 'Turns of voice sockets: one row for each part, which ends where the vendor reports a turn''s usage. A socket that is reported as a whole is one turn.';

COMMENT ON COLUMN farebox.turns.event_id IS 'The event of the turn.';

COMMENT ON COLUMN farebox.turns.call_id IS 'The socket.';

COMMENT ON COLUMN farebox.turns.tenant_id IS 'The tenant; null: unattributed.';

COMMENT ON COLUMN farebox.turns.customer_id IS 'The tenant''s end customer.';

COMMENT ON COLUMN farebox.turns.session_id IS 'A conversation.';

COMMENT ON COLUMN farebox.turns.run_id IS 'A run of an agent.';

COMMENT ON COLUMN farebox.turns.turn IS 'Number of the turn in its socket, from 1.';

COMMENT ON COLUMN farebox.turns.provider IS 'The vendor.';

COMMENT ON COLUMN farebox.turns.endpoint IS 'The kind of socket.';

COMMENT ON COLUMN farebox.turns.model IS 'The model billed, else asked for.';

COMMENT ON COLUMN farebox.turns.started_at IS 'Begin of the turn.';

COMMENT ON COLUMN farebox.turns.ended_at IS 'End of the turn.';

COMMENT ON COLUMN farebox.turns.duration_ms IS 'Length of the turn, in milliseconds.';

COMMENT ON COLUMN farebox.turns.response_ms IS 'From the turn''s begin to its first generated output; null where it cannot be told, as in a socket''s first turn.';

COMMENT ON COLUMN farebox.turns.talk_over_ms IS 'How long both sides spoke; null: not known.';

COMMENT ON COLUMN farebox.turns.ending IS 'How the turn ended.';

COMMENT ON COLUMN farebox.turns.is_final IS 'Whether it was the socket''s last.';

COMMENT ON COLUMN farebox.turns.usage IS 'Quantity by meter, exact decimals as strings.';

COMMENT ON COLUMN farebox.turns.cost_usd IS 'What the provider charges. Tenants see it where the operator does not pay.';

COMMENT ON COLUMN farebox.turns.billed_usd IS 'What the operator charges; null: unpriced.';

CREATE VIEW farebox.unattributed_usage AS
 SELECT daily.day,
    daily.period,
    daily.key_id,
    daily.environment,
    daily.paid_by,
    daily.provider,
    daily.endpoint,
    daily.model,
    daily.meter,
    trim_scale(sum(daily.quantity)) AS quantity,
    trim_scale(sum((daily.cost_usd)::numeric)) AS cost_usd,
    trim_scale(sum((daily.billed_usd)::numeric)) AS billed_usd,
    (sum(daily.events))::bigint AS events,
    (sum(daily.unpriced_events))::bigint AS unpriced_events,
    suggestion.tenant_id AS suggested_tenant_id
   FROM (farebox_private.usage_daily daily
     LEFT JOIN ( SELECT attributed.key_id,
            min(attributed.tenant_id) AS tenant_id
           FROM farebox_private.usage_daily attributed
          WHERE ((attributed.tenant_id IS NOT NULL) AND (attributed.key_id IS NOT NULL))
          GROUP BY attributed.key_id
         HAVING (count(DISTINCT attributed.tenant_id) = 1)) suggestion USING (key_id))
  WHERE ((daily.tenant_id IS NULL) AND ( SELECT farebox_private.sees_all() AS sees_all))
  GROUP BY daily.day, daily.period, daily.key_id, daily.environment, daily.paid_by, daily.provider, daily.endpoint, daily.model, daily.meter, suggestion.tenant_id;

COMMENT ON VIEW farebox.unattributed_usage IS 'Usage that names no tenant, by UTC day. For the operator only.';

COMMENT ON COLUMN farebox.unattributed_usage.day IS 'The day, UTC.';

COMMENT ON COLUMN farebox.unattributed_usage.period IS 'The month.';

COMMENT ON COLUMN farebox.unattributed_usage.key_id IS 'The virtual key.';

COMMENT ON COLUMN farebox.unattributed_usage.environment IS 'live or test.';

COMMENT ON COLUMN farebox.unattributed_usage.paid_by IS 'Who the provider bills.';

COMMENT ON COLUMN farebox.unattributed_usage.provider IS 'The vendor.';

COMMENT ON COLUMN farebox.unattributed_usage.endpoint IS 'The kind of call.';

COMMENT ON COLUMN farebox.unattributed_usage.model IS 'The model.';

COMMENT ON COLUMN farebox.unattributed_usage.meter IS 'What is counted; calls carries the events.';

COMMENT ON COLUMN farebox.unattributed_usage.quantity IS 'How much of it.';

COMMENT ON COLUMN farebox.unattributed_usage.cost_usd IS 'What the provider charges, as far as priced.';

COMMENT ON COLUMN farebox.unattributed_usage.billed_usd IS 'What would be billed, as far as priced.';

COMMENT ON COLUMN farebox.unattributed_usage.events IS 'Events, on the row of the meter calls.';

COMMENT ON COLUMN farebox.unattributed_usage.unpriced_events IS 'Unpriced ones, on the row of the meter calls.';

COMMENT ON COLUMN farebox.unattributed_usage.suggested_tenant_id IS 'The one tenant that the key''s other calls name; null: none, or several.';

CREATE VIEW farebox.usage_hourly AS
 SELECT sums.hour,
    sums.period,
    sums.tenant_id,
    COALESCE(customers.customer_id, sums.customer_id) AS customer_id,
    sums.project,
    sums.key_id,
    sums.environment,
    sums.paid_by,
    sums.provider,
    sums.endpoint,
    sums.model,
    sums.pricing,
    sums.meter,
    sums.quantity,
        CASE
            WHEN (( SELECT farebox_private.sees_all() AS sees_all) OR (sums.paid_by <> 'operator'::text)) THEN (sums.cost_usd)::numeric
            ELSE NULL::numeric
        END AS cost_usd,
    sums.billed_usd,
    sums.events,
    sums.unpriced_events
   FROM (farebox_private.usage_hourly sums
     LEFT JOIN farebox_private.customers ON (((customers.tenant_id = sums.tenant_id) AND (customers.reference = sums.customer_id))));

COMMENT ON VIEW farebox.usage_hourly IS 'Usage and money by UTC hour, meter and dimension; adjustments included.';

COMMENT ON COLUMN farebox.usage_hourly.hour IS 'The hour''s begin, UTC.';

COMMENT ON COLUMN farebox.usage_hourly.period IS 'Month it is invoiced in, by its first day.';

COMMENT ON COLUMN farebox.usage_hourly.tenant_id IS 'The tenant; null: unattributed.';

COMMENT ON COLUMN farebox.usage_hourly.customer_id IS 'The tenant''s end customer.';

COMMENT ON COLUMN farebox.usage_hourly.project IS 'A project of the tenant.';

COMMENT ON COLUMN farebox.usage_hourly.key_id IS 'The virtual key.';

COMMENT ON COLUMN farebox.usage_hourly.environment IS 'live or test.';

COMMENT ON COLUMN farebox.usage_hourly.paid_by IS 'Who the provider bills: operator, tenant, caller.';

COMMENT ON COLUMN farebox.usage_hourly.provider IS 'The vendor.';

COMMENT ON COLUMN farebox.usage_hourly.endpoint IS 'The kind of call.';

COMMENT ON COLUMN farebox.usage_hourly.model IS 'The model of the line; of the event on the row of the meter calls.';

COMMENT ON COLUMN farebox.usage_hourly.pricing IS 'How far the events are priced.';

COMMENT ON COLUMN farebox.usage_hourly.meter IS 'What is counted; calls is a meter of the roll-ups only.';

COMMENT ON COLUMN farebox.usage_hourly.quantity IS 'Sum of the meter.';

COMMENT ON COLUMN farebox.usage_hourly.cost_usd IS 'What the provider charges, as far as priced. Null for tenants where the operator pays.';

COMMENT ON COLUMN farebox.usage_hourly.billed_usd IS 'What the operator charges, as far as priced.';

COMMENT ON COLUMN farebox.usage_hourly.events IS 'Events, on the row of the meter calls; 0 elsewhere.';

COMMENT ON COLUMN farebox.usage_hourly.unpriced_events IS 'Events with pricing unpriced or partial, on the row of the meter calls; 0 elsewhere.';

CREATE TABLE farebox_private.agents (
    agent_no bigint NOT NULL,
    tenant_id text NOT NULL,
    agent text NOT NULL,
    first_seen_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT agent_is_id CHECK (farebox_private.is_id(agent))
);

ALTER TABLE ONLY farebox_private.agents FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.agents IS 'Agents of tenants that may have only so many.';

COMMENT ON COLUMN farebox_private.agents.agent_no IS 'Grows; proxies read what is past their last one.';

COMMENT ON COLUMN farebox_private.agents.tenant_id IS 'The tenant.';

COMMENT ON COLUMN farebox_private.agents.agent IS 'The agent.';

COMMENT ON COLUMN farebox_private.agents.first_seen_at IS 'When a call first named it.';

ALTER TABLE farebox_private.agents ALTER COLUMN agent_no ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME farebox_private.agents_agent_no_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE farebox_private.audit_log ALTER COLUMN audit_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME farebox_private.audit_log_audit_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE farebox_private.credentials (
    credential_id uuid NOT NULL,
    tenant_id text,
    upstream text NOT NULL,
    name text,
    host text NOT NULL,
    hint text NOT NULL,
    master_key_id text NOT NULL,
    wrapped_key bytea NOT NULL,
    sealed bytea NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    created_by text,
    rotated_at timestamp with time zone,
    rotated_by text,
    CONSTRAINT hint_is_short CHECK ((char_length(hint) <= 4)),
    CONSTRAINT host_is_id CHECK (farebox_private.is_id(host)),
    CONSTRAINT name_is_id CHECK (farebox_private.is_id(name)),
    CONSTRAINT upstream_is_id CHECK (farebox_private.is_id(upstream))
);

ALTER TABLE ONLY farebox_private.credentials FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.credentials IS 'Provider credentials, each sealed under a data key of its own that a master key outside the database wraps.';

COMMENT ON COLUMN farebox_private.credentials.credential_id IS 'Identifier, kept when the secret is rotated.';

COMMENT ON COLUMN farebox_private.credentials.tenant_id IS 'The tenant whose own it is; null: the operator''s.';

COMMENT ON COLUMN farebox_private.credentials.upstream IS 'The configured upstream it is for.';

COMMENT ON COLUMN farebox_private.credentials.name IS 'A name for people.';

COMMENT ON COLUMN farebox_private.credentials.host IS 'Host, and port where it is not the scheme''s own, that it may be sent to; bound into the seal.';

COMMENT ON COLUMN farebox_private.credentials.hint IS 'The last characters of the secret, to tell one from another.';

COMMENT ON COLUMN farebox_private.credentials.master_key_id IS 'Which master key wraps the data key.';

COMMENT ON COLUMN farebox_private.credentials.wrapped_key IS 'The data key under the master key: nonce and AES-256-GCM.';

COMMENT ON COLUMN farebox_private.credentials.sealed IS 'The secret under the data key: nonce and AES-256-GCM.';

COMMENT ON COLUMN farebox_private.credentials.created_at IS 'When it was first set.';

COMMENT ON COLUMN farebox_private.credentials.created_by IS 'Who set it first.';

COMMENT ON COLUMN farebox_private.credentials.rotated_at IS 'When the secret was last replaced.';

COMMENT ON COLUMN farebox_private.credentials.rotated_by IS 'Who replaced it.';

CREATE TABLE farebox_private.directory_changes (
    change_id bigint NOT NULL,
    kind text NOT NULL,
    entity_id text NOT NULL,
    changed_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT kind_is_a_word CHECK ((kind ~ '^[a-z_]{1,40}$'::text))
);

ALTER TABLE ONLY farebox_private.directory_changes FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.directory_changes IS 'One row for each changed entity; proxies read what is past their last one, and hear of it on the channel farebox_directory.';

COMMENT ON COLUMN farebox_private.directory_changes.change_id IS 'Grows in the order of commits.';

COMMENT ON COLUMN farebox_private.directory_changes.kind IS 'tenant, key, limit, rate_card, credential, ….';

COMMENT ON COLUMN farebox_private.directory_changes.entity_id IS 'The entity''s id; for a rate card its provider.';

COMMENT ON COLUMN farebox_private.directory_changes.changed_at IS 'When the change was made.';

ALTER TABLE farebox_private.directory_changes ALTER COLUMN change_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME farebox_private.directory_changes_change_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE VIEW farebox_private.directory_credentials AS
 SELECT credentials.credential_id,
    credentials.tenant_id,
    credentials.upstream,
    credentials.host,
    credentials.master_key_id,
    encode(credentials.wrapped_key, 'hex'::text) AS wrapped_key,
    encode(credentials.sealed, 'hex'::text) AS sealed
   FROM farebox_private.credentials;

COMMENT ON VIEW farebox_private.directory_credentials IS 'What a proxy knows of provider credentials; useless without a master key.';

COMMENT ON COLUMN farebox_private.directory_credentials.credential_id IS 'Identifier, kept when the secret is rotated.';

COMMENT ON COLUMN farebox_private.directory_credentials.tenant_id IS 'The tenant whose own it is; null: the operator''s.';

COMMENT ON COLUMN farebox_private.directory_credentials.upstream IS 'The configured upstream it is for.';

COMMENT ON COLUMN farebox_private.directory_credentials.host IS 'Where it may be sent.';

COMMENT ON COLUMN farebox_private.directory_credentials.master_key_id IS 'Which master key wraps the data key.';

COMMENT ON COLUMN farebox_private.directory_credentials.wrapped_key IS 'The data key under the master key, in hexadecimal.';

COMMENT ON COLUMN farebox_private.directory_credentials.sealed IS 'The secret under the data key, in hexadecimal.';

CREATE VIEW farebox_private.directory_keys AS
 SELECT virtual_keys.key_id,
    virtual_keys.prefix,
    virtual_keys.secret_hash,
    virtual_keys.name,
    virtual_keys.tenant_id,
    virtual_keys.may_attribute,
    virtual_keys.may_attribute_values,
    virtual_keys.scopes,
    virtual_keys.environment,
    virtual_keys.own_credential,
    virtual_keys.allowed_upstreams,
    virtual_keys.allowed_models,
    virtual_keys.networks,
    virtual_keys.expires_at,
    virtual_keys.revoked_at,
    virtual_keys.revoke_streams,
    virtual_keys.allowed_projects,
    virtual_keys.allowed_tools
   FROM farebox_private.virtual_keys;

COMMENT ON VIEW farebox_private.directory_keys IS 'What a proxy knows of virtual keys.';

COMMENT ON COLUMN farebox_private.directory_keys.key_id IS 'Identifier of the key.';

COMMENT ON COLUMN farebox_private.directory_keys.prefix IS 'The first eight characters, visible and unique.';

COMMENT ON COLUMN farebox_private.directory_keys.secret_hash IS 'argon2id in PHC form.';

COMMENT ON COLUMN farebox_private.directory_keys.name IS 'A name for people.';

COMMENT ON COLUMN farebox_private.directory_keys.tenant_id IS 'The key''s own tenant, or null.';

COMMENT ON COLUMN farebox_private.directory_keys.may_attribute IS 'Which tenants an unscoped key may name: none, any, list, prefix.';

COMMENT ON COLUMN farebox_private.directory_keys.may_attribute_values IS 'The list, or the prefix.';

COMMENT ON COLUMN farebox_private.directory_keys.scopes IS 'What the key may do.';

COMMENT ON COLUMN farebox_private.directory_keys.environment IS 'live or test.';

COMMENT ON COLUMN farebox_private.directory_keys.own_credential IS 'The caller''s own provider credential passes through.';

COMMENT ON COLUMN farebox_private.directory_keys.allowed_upstreams IS 'Upstreams it may reach; null: all.';

COMMENT ON COLUMN farebox_private.directory_keys.allowed_models IS 'Models it may ask for; null: all.';

COMMENT ON COLUMN farebox_private.directory_keys.networks IS 'Source networks it may come from; null: all.';

COMMENT ON COLUMN farebox_private.directory_keys.expires_at IS 'When it stops working; null: never.';

COMMENT ON COLUMN farebox_private.directory_keys.revoked_at IS 'When it was revoked.';

COMMENT ON COLUMN farebox_private.directory_keys.revoke_streams IS 'Whether revocation cuts running streams or lets them finish.';

COMMENT ON COLUMN farebox_private.directory_keys.allowed_projects IS 'Projects it may name; null: all.';

COMMENT ON COLUMN farebox_private.directory_keys.allowed_tools IS 'Functions and hosted tools its calls may offer a model; null: all.';

CREATE VIEW farebox_private.directory_limits AS
 SELECT limits.limit_id,
    limits.tenant_id,
    limits.meter,
    limits.amount,
    limits.window_kind,
    limits.action,
    limits.dry_run,
    limits.expires_at,
    limits.customer_id,
    limits.project,
    limits.agent,
    limits.key_id,
    limits.provider,
    limits.upstream,
    limits.model,
    limits.per,
    limits.basis,
    limits.fail
   FROM farebox_private.limits;

COMMENT ON VIEW farebox_private.directory_limits IS 'What a proxy knows of limits.';

COMMENT ON COLUMN farebox_private.directory_limits.limit_id IS 'Identifier of the limit.';

COMMENT ON COLUMN farebox_private.directory_limits.tenant_id IS 'The tenant it binds; null: everybody.';

COMMENT ON COLUMN farebox_private.directory_limits.meter IS 'What is counted.';

COMMENT ON COLUMN farebox_private.directory_limits.amount IS 'How much a window allows.';

COMMENT ON COLUMN farebox_private.directory_limits.window_kind IS 'The window the amount is for.';

COMMENT ON COLUMN farebox_private.directory_limits.action IS 'What happens past it.';

COMMENT ON COLUMN farebox_private.directory_limits.dry_run IS 'Counted and reported, never enforced.';

COMMENT ON COLUMN farebox_private.directory_limits.expires_at IS 'When it stops to hold; null: never.';

COMMENT ON COLUMN farebox_private.directory_limits.customer_id IS 'The customer it binds; null: all.';

COMMENT ON COLUMN farebox_private.directory_limits.project IS 'The project it binds; null: all.';

COMMENT ON COLUMN farebox_private.directory_limits.agent IS 'The agent it binds; null: all.';

COMMENT ON COLUMN farebox_private.directory_limits.key_id IS 'The virtual key it binds; null: all.';

COMMENT ON COLUMN farebox_private.directory_limits.provider IS 'The vendor it binds; null: all.';

COMMENT ON COLUMN farebox_private.directory_limits.upstream IS 'The upstream it binds; null: all.';

COMMENT ON COLUMN farebox_private.directory_limits.model IS 'The model it binds; null: all.';

COMMENT ON COLUMN farebox_private.directory_limits.per IS 'Dimensions each value of which has the amount for itself.';

COMMENT ON COLUMN farebox_private.directory_limits.basis IS 'For usd: billed or cost.';

COMMENT ON COLUMN farebox_private.directory_limits.fail IS 'What holds while it cannot be checked: closed or open.';

CREATE VIEW farebox_private.directory_rate_cards AS
 SELECT cards.kind,
    cards.provider,
    cards.sha256 AS revision,
    ((cards.activated_at IS NOT NULL) AND (row_number() OVER (PARTITION BY cards.kind, cards.provider ORDER BY cards.activated_at DESC NULLS LAST, cards.sha256 DESC) = 1)) AS is_active,
    cards.canonical
   FROM farebox_private.rate_card_revisions cards;

COMMENT ON VIEW farebox_private.directory_rate_cards IS 'What a proxy knows of rate cards and selling rules: every revision, and which is in force.';

COMMENT ON COLUMN farebox_private.directory_rate_cards.kind IS 'cost (a provider''s prices) or price (selling rules).';

COMMENT ON COLUMN farebox_private.directory_rate_cards.provider IS 'The vendor; * for selling rules.';

COMMENT ON COLUMN farebox_private.directory_rate_cards.revision IS 'SHA-256 of the canonical form: the revision''s identity.';

COMMENT ON COLUMN farebox_private.directory_rate_cards.is_active IS 'Whether it is the revision in force.';

COMMENT ON COLUMN farebox_private.directory_rate_cards.canonical IS 'The card''s canonical JSON text.';

CREATE TABLE farebox_private.session_attributions (
    key_id uuid NOT NULL,
    session_id text NOT NULL,
    tenant_id text,
    labels jsonb DEFAULT '{}'::jsonb NOT NULL,
    changed_at timestamp with time zone DEFAULT now() NOT NULL,
    changed_xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    CONSTRAINT labels_is_object CHECK ((jsonb_typeof(labels) = 'object'::text)),
    CONSTRAINT tenant_id_is_id CHECK (farebox_private.is_id(tenant_id))
);

ALTER TABLE ONLY farebox_private.session_attributions FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.session_attributions IS 'Whose session it is, by virtual key and session id; the first attribution stays.';

COMMENT ON COLUMN farebox_private.session_attributions.key_id IS 'The virtual key; all zeros: callers without one.';

COMMENT ON COLUMN farebox_private.session_attributions.session_id IS 'The session.';

COMMENT ON COLUMN farebox_private.session_attributions.tenant_id IS 'Its tenant; null: none yet.';

COMMENT ON COLUMN farebox_private.session_attributions.labels IS 'What its later calls inherit: customer_id, project, agent, revision, metadata.';

COMMENT ON COLUMN farebox_private.session_attributions.changed_at IS 'When it was last added to.';

COMMENT ON COLUMN farebox_private.session_attributions.changed_xid IS 'The transaction that did.';

CREATE VIEW farebox_private.directory_sessions AS
 SELECT sessions.key_id,
    sessions.session_id,
    sessions.tenant_id,
    sessions.labels,
    sessions.changed_xid
   FROM farebox_private.session_attributions sessions;

COMMENT ON VIEW farebox_private.directory_sessions IS 'What proxies tell each other of sessions.';

COMMENT ON COLUMN farebox_private.directory_sessions.key_id IS 'The virtual key; all zeros: callers without one.';

COMMENT ON COLUMN farebox_private.directory_sessions.session_id IS 'The session.';

COMMENT ON COLUMN farebox_private.directory_sessions.tenant_id IS 'Its tenant; null: none yet.';

COMMENT ON COLUMN farebox_private.directory_sessions.labels IS 'What its later calls inherit.';

COMMENT ON COLUMN farebox_private.directory_sessions.changed_xid IS 'The transaction that added to it last.';

CREATE VIEW farebox_private.directory_tenants AS
 SELECT tenants.tenant_id,
    tenants.status,
    tenants.settings,
    tenants.plan,
    tenants.status_reason,
    tenants.time_zone,
    tenants.time_zone_before,
    tenants.time_zone_from
   FROM farebox_private.tenants;

COMMENT ON VIEW farebox_private.directory_tenants IS 'What a proxy knows of tenants.';

COMMENT ON COLUMN farebox_private.directory_tenants.tenant_id IS 'The identifier used on the wire.';

COMMENT ON COLUMN farebox_private.directory_tenants.status IS 'active, suspended or archived.';

COMMENT ON COLUMN farebox_private.directory_tenants.settings IS 'Settings by name.';

COMMENT ON COLUMN farebox_private.directory_tenants.plan IS 'Selling rules may go by it.';

COMMENT ON COLUMN farebox_private.directory_tenants.status_reason IS 'Why it is suspended or archived.';

COMMENT ON COLUMN farebox_private.directory_tenants.time_zone IS 'IANA name; decides the tenant''s days and months.';

COMMENT ON COLUMN farebox_private.directory_tenants.time_zone_before IS 'The zone that holds before time_zone_from.';

COMMENT ON COLUMN farebox_private.directory_tenants.time_zone_from IS 'First month of time_zone; null: always.';

CREATE TABLE farebox_private.idempotency_keys (
    principal text NOT NULL,
    idempotency_key text NOT NULL,
    request_sha256 bytea NOT NULL,
    status integer,
    response jsonb,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE ONLY farebox_private.idempotency_keys FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.idempotency_keys IS 'Answers to POSTs that carried an Idempotency-Key, for 24 hours.';

COMMENT ON COLUMN farebox_private.idempotency_keys.principal IS 'Who asked.';

COMMENT ON COLUMN farebox_private.idempotency_keys.idempotency_key IS 'The key as sent.';

COMMENT ON COLUMN farebox_private.idempotency_keys.request_sha256 IS 'SHA-256 of method, path and body; another body with the same key is refused.';

COMMENT ON COLUMN farebox_private.idempotency_keys.status IS 'Status of the answer; null: still running.';

COMMENT ON COLUMN farebox_private.idempotency_keys.response IS 'The answer, without secrets.';

COMMENT ON COLUMN farebox_private.idempotency_keys.created_at IS 'When it was asked.';

CREATE TABLE farebox_private.ingest_tokens (
    token_id uuid NOT NULL,
    name text NOT NULL,
    token_sha256 bytea NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    created_by text,
    revoked_at timestamp with time zone,
    CONSTRAINT name_is_id CHECK (farebox_private.is_id(name))
);

ALTER TABLE ONLY farebox_private.ingest_tokens FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.ingest_tokens IS 'What proxies prove themselves with to the collector; hashed, revocable.';

COMMENT ON COLUMN farebox_private.ingest_tokens.token_id IS 'Identifier of the token.';

COMMENT ON COLUMN farebox_private.ingest_tokens.name IS 'A name for people, usually the node''s.';

COMMENT ON COLUMN farebox_private.ingest_tokens.token_sha256 IS 'SHA-256 of the token, which is random and long.';

COMMENT ON COLUMN farebox_private.ingest_tokens.created_at IS 'When it was made.';

COMMENT ON COLUMN farebox_private.ingest_tokens.created_by IS 'Who made it.';

COMMENT ON COLUMN farebox_private.ingest_tokens.revoked_at IS 'When it was revoked.';

CREATE TABLE farebox_private.new_sums_rows (
    hour timestamp with time zone NOT NULL,
    day date NOT NULL,
    period date NOT NULL,
    tenant_id text,
    customer_id text,
    project text,
    key_id uuid,
    environment text NOT NULL,
    paid_by text NOT NULL,
    provider text NOT NULL,
    endpoint text NOT NULL,
    pricing text NOT NULL,
    models text[] NOT NULL,
    meters text[] NOT NULL,
    quantities numeric[] NOT NULL,
    costs_usd numeric[] NOT NULL,
    billed_usd numeric[] NOT NULL,
    events bigint[] NOT NULL,
    unpriced_events bigint[] NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000', autovacuum_vacuum_cost_delay='0');

COMMENT ON TABLE farebox_private.new_sums_rows IS 'The one partition of new_sums.';

COMMENT ON COLUMN farebox_private.new_sums_rows.hour IS 'The hour''s begin, UTC.';

COMMENT ON COLUMN farebox_private.new_sums_rows.day IS 'The day in the tenant''s zone at ingest.';

COMMENT ON COLUMN farebox_private.new_sums_rows.period IS 'Month it is invoiced in, by its first day.';

COMMENT ON COLUMN farebox_private.new_sums_rows.tenant_id IS 'The tenant; null: unattributed.';

COMMENT ON COLUMN farebox_private.new_sums_rows.customer_id IS 'The tenant''s end customer.';

COMMENT ON COLUMN farebox_private.new_sums_rows.project IS 'A project of the tenant.';

COMMENT ON COLUMN farebox_private.new_sums_rows.key_id IS 'The virtual key.';

COMMENT ON COLUMN farebox_private.new_sums_rows.environment IS 'live or test.';

COMMENT ON COLUMN farebox_private.new_sums_rows.paid_by IS 'Who the provider bills: operator, tenant, caller.';

COMMENT ON COLUMN farebox_private.new_sums_rows.provider IS 'The vendor.';

COMMENT ON COLUMN farebox_private.new_sums_rows.endpoint IS 'The kind of call.';

COMMENT ON COLUMN farebox_private.new_sums_rows.pricing IS 'How far the events are priced.';

COMMENT ON COLUMN farebox_private.new_sums_rows.models IS 'The model of each line; of the events where the meter is calls.';

COMMENT ON COLUMN farebox_private.new_sums_rows.meters IS 'What is counted.';

COMMENT ON COLUMN farebox_private.new_sums_rows.quantities IS 'Sum of each meter.';

COMMENT ON COLUMN farebox_private.new_sums_rows.costs_usd IS 'What the provider charges for each, as far as priced.';

COMMENT ON COLUMN farebox_private.new_sums_rows.billed_usd IS 'What the operator charges for each, as far as priced.';

COMMENT ON COLUMN farebox_private.new_sums_rows.events IS 'Events, where the meter is calls; 0 elsewhere.';

COMMENT ON COLUMN farebox_private.new_sums_rows.unpriced_events IS 'Events with pricing unpriced or partial, where the meter is calls; 0 elsewhere.';

CREATE TABLE farebox_private.objects (
    provider text NOT NULL,
    account text NOT NULL,
    object_id text NOT NULL,
    tenant_id text,
    event_id uuid NOT NULL,
    part_of text
);

ALTER TABLE ONLY farebox_private.objects FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.objects IS 'Things that vendors keep (files, batches, responses), by the tenant that made them. The first row of a thing stays.';

COMMENT ON COLUMN farebox_private.objects.provider IS 'The vendor.';

COMMENT ON COLUMN farebox_private.objects.account IS 'The credential''s id; of a caller''s own credential, tenant/ and the tenant.';

COMMENT ON COLUMN farebox_private.objects.object_id IS 'The vendor''s name of it: an id, or the last two parts of a resource''s name.';

COMMENT ON COLUMN farebox_private.objects.tenant_id IS 'The tenant that made it; null: made without a tenant.';

COMMENT ON COLUMN farebox_private.objects.event_id IS 'The call that made it, or first told of it.';

COMMENT ON COLUMN farebox_private.objects.part_of IS 'Of a batch''s file of results: the batch.';

CREATE TABLE farebox_private.periods (
    tenant_id text,
    period date NOT NULL,
    state text DEFAULT 'open'::text NOT NULL,
    closed_at timestamp with time zone,
    closed_by text,
    despite text[],
    CONSTRAINT closing_is_recorded CHECK (((state = 'closed'::text) = (closed_at IS NOT NULL))),
    CONSTRAINT period_is_month CHECK ((EXTRACT(day FROM period) = (1)::numeric)),
    CONSTRAINT state_is_known CHECK ((state = ANY (ARRAY['open'::text, 'closed'::text])))
);

ALTER TABLE ONLY farebox_private.periods FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.periods IS 'A tenant''s months. Ingest holds the row for share, closing for update.';

COMMENT ON COLUMN farebox_private.periods.tenant_id IS 'The tenant; null: unattributed.';

COMMENT ON COLUMN farebox_private.periods.period IS 'The month''s first day, tenant-local.';

COMMENT ON COLUMN farebox_private.periods.state IS 'open or closed.';

COMMENT ON COLUMN farebox_private.periods.closed_at IS 'When it was closed.';

COMMENT ON COLUMN farebox_private.periods.closed_by IS 'Who closed it.';

COMMENT ON COLUMN farebox_private.periods.despite IS 'Nodes that had not shipped past its end.';

CREATE TABLE farebox_private.response_claims (
    claim uuid NOT NULL,
    charged_event_id uuid,
    pending_event_id uuid,
    charged_is_original boolean DEFAULT false NOT NULL
);

ALTER TABLE ONLY farebox_private.response_claims FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.response_claims IS 'Which event was charged for an answer of a provider, so that it is charged once. Calls that made their answers and said all of it have no row until somebody asks for the answer; they are looked up in usage_events.';

COMMENT ON COLUMN farebox_private.response_claims.claim IS 'First half of the SHA-256 over provider, account and response id.';

COMMENT ON COLUMN farebox_private.response_claims.charged_event_id IS 'The event that was charged for it.';

COMMENT ON COLUMN farebox_private.response_claims.pending_event_id IS 'The event that waits for its usage.';

COMMENT ON COLUMN farebox_private.response_claims.charged_is_original IS 'The charged event made the answer itself: another one that did so is no repeat of it.';

CREATE TABLE farebox_private.retained (
    tenant_id text,
    removed_before timestamp with time zone NOT NULL,
    removed_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE ONLY farebox_private.retained FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE farebox_private.retained IS 'Up to where a tenant''s events were removed.';

COMMENT ON COLUMN farebox_private.retained.tenant_id IS 'The tenant; null: unattributed.';

COMMENT ON COLUMN farebox_private.retained.removed_before IS 'Events that started before are gone.';

COMMENT ON COLUMN farebox_private.retained.removed_at IS 'When that was done.';

CREATE TABLE farebox_private.schema_migrations (
    version integer NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE farebox_private.schema_migrations IS 'Which migrations have run, and the checksum of their text.';

COMMENT ON COLUMN farebox_private.schema_migrations.version IS 'The number in the file''s name.';

COMMENT ON COLUMN farebox_private.schema_migrations.name IS 'The subject in the file''s name.';

COMMENT ON COLUMN farebox_private.schema_migrations.checksum IS 'SHA-256 of the file as released; a changed file is refused.';

COMMENT ON COLUMN farebox_private.schema_migrations.applied_at IS 'When it ran here.';

ALTER TABLE ONLY farebox_private.new_sums ATTACH PARTITION farebox_private.new_sums_rows DEFAULT;

ALTER TABLE ONLY farebox_private.adjustments
    ADD CONSTRAINT adjustments_pkey PRIMARY KEY (adjustment_id);

ALTER TABLE ONLY farebox_private.agents
    ADD CONSTRAINT agent_no_is_unique UNIQUE (agent_no);

ALTER TABLE ONLY farebox_private.agents
    ADD CONSTRAINT agents_pkey PRIMARY KEY (tenant_id, agent);

ALTER TABLE ONLY farebox_private.allowances
    ADD CONSTRAINT allowances_pkey PRIMARY KEY (revision, allowance);

ALTER TABLE ONLY farebox_private.audit_log
    ADD CONSTRAINT audit_log_pkey PRIMARY KEY (audit_id);

ALTER TABLE ONLY farebox_private.corrections
    ADD CONSTRAINT corrections_follow_each_other UNIQUE (event_id, number);

ALTER TABLE ONLY farebox_private.corrections
    ADD CONSTRAINT corrections_pkey PRIMARY KEY (correction_id);

ALTER TABLE ONLY farebox_private.credentials
    ADD CONSTRAINT credentials_pkey PRIMARY KEY (credential_id);

ALTER TABLE ONLY farebox_private.customers
    ADD CONSTRAINT customers_pkey PRIMARY KEY (tenant_id, customer_id);

ALTER TABLE ONLY farebox_private.deployment
    ADD CONSTRAINT deployment_pkey PRIMARY KEY (name);

ALTER TABLE ONLY farebox_private.directory_changes
    ADD CONSTRAINT directory_changes_pkey PRIMARY KEY (change_id);

ALTER TABLE ONLY farebox_private.event_links
    ADD CONSTRAINT event_links_pkey PRIMARY KEY (event_id, relation);

ALTER TABLE ONLY farebox_private.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (principal, idempotency_key);

ALTER TABLE ONLY farebox_private.ingest_tokens
    ADD CONSTRAINT ingest_tokens_pkey PRIMARY KEY (token_id);

ALTER TABLE ONLY farebox_private.invoice_lines
    ADD CONSTRAINT invoice_lines_pkey PRIMARY KEY (invoice_id, line);

ALTER TABLE ONLY farebox_private.invoices
    ADD CONSTRAINT invoices_pkey PRIMARY KEY (invoice_id);

ALTER TABLE ONLY farebox_private.key_activity
    ADD CONSTRAINT key_activity_pkey PRIMARY KEY (key_id);

ALTER TABLE ONLY farebox_private.limit_events
    ADD CONSTRAINT limit_events_pkey PRIMARY KEY (limit_event_id);

ALTER TABLE ONLY farebox_private.limit_leases
    ADD CONSTRAINT limit_leases_pkey PRIMARY KEY (limit_id, scope, window_start, node);

ALTER TABLE ONLY farebox_private.limit_nodes
    ADD CONSTRAINT limit_nodes_pkey PRIMARY KEY (node);

ALTER TABLE ONLY farebox_private.limit_usage
    ADD CONSTRAINT limit_usage_pkey PRIMARY KEY (limit_id, scope, window_start);

ALTER TABLE ONLY farebox_private.limits
    ADD CONSTRAINT limits_pkey PRIMARY KEY (limit_id);

ALTER TABLE ONLY farebox_private.nodes
    ADD CONSTRAINT nodes_pkey PRIMARY KEY (node);

ALTER TABLE ONLY farebox_private.invoices
    ADD CONSTRAINT number_is_unique UNIQUE (number);

ALTER TABLE ONLY farebox_private.objects
    ADD CONSTRAINT objects_pkey PRIMARY KEY (provider, account, object_id);

ALTER TABLE ONLY farebox_private.credentials
    ADD CONSTRAINT one_a_tenant_and_upstream UNIQUE NULLS NOT DISTINCT (tenant_id, upstream);

ALTER TABLE ONLY farebox_private.invoices
    ADD CONSTRAINT one_invoice_a_month UNIQUE (tenant_id, period);

ALTER TABLE ONLY farebox_private.limit_events
    ADD CONSTRAINT one_of_a_window UNIQUE (limit_id, scope, window_start, kind);

ALTER TABLE ONLY farebox_private.periods
    ADD CONSTRAINT periods_key UNIQUE NULLS NOT DISTINCT (tenant_id, period);

ALTER TABLE ONLY farebox_private.virtual_keys
    ADD CONSTRAINT prefix_is_unique UNIQUE (prefix);

ALTER TABLE ONLY farebox_private.rate_card_revisions
    ADD CONSTRAINT rate_card_revisions_pkey PRIMARY KEY (sha256);

ALTER TABLE ONLY farebox_private.received_sequences
    ADD CONSTRAINT received_sequences_pkey PRIMARY KEY (node, epoch);

ALTER TABLE ONLY farebox_private.reconciliation_lines
    ADD CONSTRAINT reconciliation_lines_pkey PRIMARY KEY (reconciliation_id, line);

ALTER TABLE ONLY farebox_private.reconciliations
    ADD CONSTRAINT reconciliations_pkey PRIMARY KEY (reconciliation_id);

ALTER TABLE ONLY farebox_private.customers
    ADD CONSTRAINT reference_is_unique UNIQUE (tenant_id, reference);

ALTER TABLE ONLY farebox_private.response_claims
    ADD CONSTRAINT response_claims_pkey PRIMARY KEY (claim);

ALTER TABLE ONLY farebox_private.retained
    ADD CONSTRAINT retained_key UNIQUE NULLS NOT DISTINCT (tenant_id);

ALTER TABLE ONLY farebox_private.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (version);

ALTER TABLE ONLY farebox_private.session_attributions
    ADD CONSTRAINT session_attributions_pkey PRIMARY KEY (key_id, session_id);

ALTER TABLE ONLY farebox_private.tenant_activity
    ADD CONSTRAINT tenant_activity_pkey PRIMARY KEY (tenant_id);

ALTER TABLE ONLY farebox_private.tenant_logins
    ADD CONSTRAINT tenant_logins_pkey PRIMARY KEY (login);

ALTER TABLE ONLY farebox_private.tenant_sessions
    ADD CONSTRAINT tenant_sessions_pkey PRIMARY KEY (tenant_id, session);

ALTER TABLE ONLY farebox_private.tenants
    ADD CONSTRAINT tenants_pkey PRIMARY KEY (tenant_id);

ALTER TABLE ONLY farebox_private.ingest_tokens
    ADD CONSTRAINT token_is_unique UNIQUE (token_sha256);

ALTER TABLE ONLY farebox_private.total_sums
    ADD CONSTRAINT total_sums_key UNIQUE NULLS NOT DISTINCT (tenant_id, day, meter, model, endpoint, provider, period, environment, paid_by, pricing, utc_day);

ALTER TABLE ONLY farebox_private.daily_sums
    ADD CONSTRAINT usage_daily_key UNIQUE NULLS NOT DISTINCT (tenant_id, day, meter, model, endpoint, provider, key_id, customer_id, project, period, environment, paid_by, pricing, utc_day);

ALTER TABLE ONLY farebox_private.usage_events
    ADD CONSTRAINT usage_events_pkey PRIMARY KEY (event_id);

ALTER TABLE ONLY farebox_private.hourly_sums
    ADD CONSTRAINT usage_hourly_key UNIQUE NULLS NOT DISTINCT (tenant_id, hour, meter, model, endpoint, provider, key_id, customer_id, project, period, environment, paid_by, pricing);

ALTER TABLE ONLY farebox_private.virtual_keys
    ADD CONSTRAINT virtual_keys_pkey PRIMARY KEY (key_id);

CREATE UNIQUE INDEX adjustments_by_hand_once ON farebox_private.adjustments USING btree (event_id, new_revision) WHERE ((kind = 'manual'::text) AND (new_revision IS NOT NULL));

CREATE INDEX adjustments_of_batch ON farebox_private.adjustments USING btree (batch_id);

CREATE INDEX adjustments_of_event ON farebox_private.adjustments USING btree (event_id);

CREATE INDEX adjustments_of_run ON farebox_private.adjustments USING btree (run_id) WHERE (run_id IS NOT NULL);

CREATE INDEX adjustments_of_session ON farebox_private.adjustments USING btree (session_id) WHERE (session_id IS NOT NULL);

CREATE INDEX adjustments_of_tenant ON farebox_private.adjustments USING btree (tenant_id, period);

CREATE INDEX audit_log_at ON farebox_private.audit_log USING btree (at DESC);

CREATE INDEX corrections_of_batch ON farebox_private.corrections USING btree (batch_id, event_id);

CREATE INDEX event_links_to ON farebox_private.event_links USING btree (other_event_id, relation);

CREATE INDEX idempotency_keys_created ON farebox_private.idempotency_keys USING btree (created_at);

CREATE INDEX limit_events_of_tenant ON farebox_private.limit_events USING btree (tenant_id, at DESC);

CREATE INDEX limit_leases_node ON farebox_private.limit_leases USING btree (node, epoch);

CREATE INDEX limit_usage_contended ON farebox_private.limit_usage USING btree (contended_at) WHERE (contended_at IS NOT NULL);

CREATE INDEX limit_usage_end ON farebox_private.limit_usage USING btree (window_end);

CREATE INDEX limits_of_tenant ON farebox_private.limits USING btree (tenant_id);

CREATE INDEX rate_card_revisions_active ON farebox_private.rate_card_revisions USING btree (provider, kind, activated_at DESC);

CREATE INDEX reconciliations_of_provider ON farebox_private.reconciliations USING btree (provider, from_day);

CREATE INDEX session_attributions_changed ON farebox_private.session_attributions USING btree (changed_xid);

CREATE INDEX total_sums_utc_day ON farebox_private.total_sums USING btree (utc_day);

CREATE INDEX usage_daily_period ON farebox_private.daily_sums USING btree (tenant_id, period);

CREATE INDEX usage_daily_utc_day ON farebox_private.daily_sums USING btree (utc_day);

CREATE INDEX usage_events_of_call ON ONLY farebox_private.usage_events USING btree (call_id) WHERE (call_id <> event_id);

CREATE INDEX usage_events_of_ending ON ONLY farebox_private.usage_events USING btree (ending, event_id) WHERE ((ending <> 'complete'::text) AND (ending <> 'continues'::text));

CREATE INDEX usage_events_of_nobody ON ONLY farebox_private.usage_events USING btree (event_id) WHERE (tenant_id IS NULL);

CREATE INDEX usage_events_of_pricing ON ONLY farebox_private.usage_events USING btree (pricing, event_id) WHERE (pricing = ANY (ARRAY['unpriced'::text, 'partial'::text, 'unknown'::text]));

CREATE INDEX usage_events_of_response ON ONLY farebox_private.usage_events USING btree (response_id) WHERE (response_id IS NOT NULL);

CREATE INDEX usage_events_of_run ON ONLY farebox_private.usage_events USING btree (run_id, span_id) WHERE (run_id IS NOT NULL);

CREATE INDEX usage_events_of_session ON ONLY farebox_private.usage_events USING btree (session_id) WHERE (session_id IS NOT NULL);

CREATE INDEX usage_events_of_status ON ONLY farebox_private.usage_events USING btree (status, event_id) WHERE (status >= 400);

CREATE INDEX usage_events_of_tenant ON ONLY farebox_private.usage_events USING btree (tenant_id, started_at);

CREATE INDEX usage_events_of_upstream_request ON ONLY farebox_private.usage_events USING btree (upstream_request_id) WHERE (upstream_request_id IS NOT NULL);

CREATE INDEX usage_events_of_usage_source ON ONLY farebox_private.usage_events USING btree (usage_source, event_id) WHERE (usage_source = ANY (ARRAY['partial'::text, 'estimated'::text, 'pending'::text, 'missing'::text]));

CREATE INDEX usage_events_that_came_late ON ONLY farebox_private.usage_events USING btree (tenant_id, period) WHERE is_late;

CREATE INDEX usage_events_without_cost ON ONLY farebox_private.usage_events USING btree (tenant_id, period) WHERE ((cost_usd IS NULL) AND (pricing = 'priced'::text));

CREATE INDEX usage_events_without_price ON ONLY farebox_private.usage_events USING btree (tenant_id, period) WHERE (pricing = ANY (ARRAY['unpriced'::text, 'partial'::text, 'unknown'::text]));

CREATE INDEX usage_hourly_hour ON farebox_private.hourly_sums USING btree (hour);

CREATE INDEX virtual_keys_of_tenant ON farebox_private.virtual_keys USING btree (tenant_id);

CREATE TRIGGER forget_other_usage AFTER UPDATE ON farebox_private.limits FOR EACH ROW EXECUTE FUNCTION farebox_private.forget_other_usage();

CREATE TRIGGER keep_time_zone_until_month_end BEFORE INSERT OR UPDATE ON farebox_private.tenants FOR EACH ROW EXECUTE FUNCTION farebox_private.keep_time_zone_until_month_end();

CREATE TRIGGER note_directory_change AFTER INSERT OR DELETE OR UPDATE ON farebox_private.credentials FOR EACH ROW EXECUTE FUNCTION farebox_private.note_directory_change('credential', 'credential_id');

CREATE TRIGGER note_directory_change AFTER INSERT OR DELETE OR UPDATE ON farebox_private.limits FOR EACH ROW EXECUTE FUNCTION farebox_private.note_directory_change('limit', 'limit_id');

CREATE TRIGGER note_directory_change AFTER INSERT OR UPDATE ON farebox_private.rate_card_revisions FOR EACH ROW EXECUTE FUNCTION farebox_private.note_directory_change('rate_card', 'provider');

CREATE TRIGGER note_directory_change AFTER INSERT OR DELETE OR UPDATE ON farebox_private.tenants FOR EACH ROW EXECUTE FUNCTION farebox_private.note_directory_change('tenant', 'tenant_id');

CREATE TRIGGER note_directory_change AFTER INSERT OR DELETE OR UPDATE ON farebox_private.virtual_keys FOR EACH ROW EXECUTE FUNCTION farebox_private.note_directory_change('key', 'key_id');

ALTER TABLE ONLY farebox_private.allowances
    ADD CONSTRAINT allowances_revision_fkey FOREIGN KEY (revision) REFERENCES farebox_private.rate_card_revisions(sha256);

ALTER TABLE ONLY farebox_private.credentials
    ADD CONSTRAINT credentials_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES farebox_private.tenants(tenant_id);

ALTER TABLE ONLY farebox_private.invoice_lines
    ADD CONSTRAINT invoice_lines_invoice_id_fkey FOREIGN KEY (invoice_id) REFERENCES farebox_private.invoices(invoice_id) DEFERRABLE INITIALLY DEFERRED;

ALTER TABLE ONLY farebox_private.limit_leases
    ADD CONSTRAINT limit_leases_counter_fkey FOREIGN KEY (limit_id, scope, window_start) REFERENCES farebox_private.limit_usage(limit_id, scope, window_start) ON DELETE CASCADE;

ALTER TABLE ONLY farebox_private.limit_usage
    ADD CONSTRAINT limit_usage_limit_id_fkey FOREIGN KEY (limit_id) REFERENCES farebox_private.limits(limit_id) ON DELETE CASCADE;

ALTER TABLE ONLY farebox_private.limits
    ADD CONSTRAINT limits_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES farebox_private.tenants(tenant_id);

ALTER TABLE ONLY farebox_private.reconciliation_lines
    ADD CONSTRAINT reconciliation_lines_reconciliation_id_fkey FOREIGN KEY (reconciliation_id) REFERENCES farebox_private.reconciliations(reconciliation_id);

ALTER TABLE ONLY farebox_private.virtual_keys
    ADD CONSTRAINT virtual_keys_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES farebox_private.tenants(tenant_id);

ALTER TABLE farebox_private.adjustments ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.agents ENABLE ROW LEVEL SECURITY;

CREATE POLICY all_rows ON farebox_private.deployment USING (true);

CREATE POLICY all_rows ON farebox_private.limit_nodes USING (true);

ALTER TABLE farebox_private.allowances ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.audit_log ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.corrections ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.credentials ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.customers ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.daily_sums ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.deployment ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.directory_changes ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.event_links ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.hourly_sums ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.idempotency_keys ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.ingest_tokens ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.invoice_lines ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.invoices ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.key_activity ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.limit_events ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.limit_leases ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.limit_nodes ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.limit_usage ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.limits ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.new_sums ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.nodes ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.objects ENABLE ROW LEVEL SECURITY;

CREATE POLICY operator_rows ON farebox_private.audit_log USING (( SELECT farebox_private.sees_all() AS sees_all));

CREATE POLICY operator_rows ON farebox_private.credentials USING (( SELECT farebox_private.sees_all() AS sees_all));

CREATE POLICY operator_rows ON farebox_private.directory_changes USING (( SELECT farebox_private.sees_all() AS sees_all));

CREATE POLICY operator_rows ON farebox_private.idempotency_keys USING (( SELECT farebox_private.sees_all() AS sees_all));

CREATE POLICY operator_rows ON farebox_private.ingest_tokens USING (( SELECT farebox_private.sees_all() AS sees_all));

CREATE POLICY operator_rows ON farebox_private.nodes USING (( SELECT farebox_private.sees_all() AS sees_all));

CREATE POLICY operator_rows ON farebox_private.objects USING (( SELECT farebox_private.sees_all() AS sees_all));

CREATE POLICY operator_rows ON farebox_private.rate_card_revisions USING (( SELECT farebox_private.sees_all() AS sees_all));

CREATE POLICY operator_rows ON farebox_private.received_sequences USING (( SELECT farebox_private.sees_all() AS sees_all));

CREATE POLICY operator_rows ON farebox_private.reconciliation_lines USING (( SELECT farebox_private.sees_all() AS sees_all));

CREATE POLICY operator_rows ON farebox_private.reconciliations USING (( SELECT farebox_private.sees_all() AS sees_all));

CREATE POLICY operator_rows ON farebox_private.response_claims USING (( SELECT farebox_private.sees_all() AS sees_all));

CREATE POLICY operator_rows ON farebox_private.retained USING (( SELECT farebox_private.sees_all() AS sees_all));

CREATE POLICY operator_rows ON farebox_private.session_attributions USING (( SELECT farebox_private.sees_all() AS sees_all));

CREATE POLICY own_login ON farebox_private.tenant_logins USING (((login = CURRENT_USER) OR ( SELECT farebox_private.sees_all() AS sees_all)));

CREATE POLICY own_rows ON farebox_private.adjustments USING ((( SELECT farebox_private.sees_all() AS sees_all) OR (tenant_id = ( SELECT farebox_private.own_tenant() AS own_tenant))));

CREATE POLICY own_rows ON farebox_private.agents USING ((( SELECT farebox_private.sees_all() AS sees_all) OR (tenant_id = ( SELECT farebox_private.own_tenant() AS own_tenant))));

CREATE POLICY own_rows ON farebox_private.allowances USING ((( SELECT farebox_private.sees_all() AS sees_all) OR (tenant_id = ( SELECT farebox_private.own_tenant() AS own_tenant)) OR ((tenant_id IS NULL) AND ((plan IS NULL) OR (plan = ( SELECT tenants.plan
   FROM farebox_private.tenants
  WHERE (tenants.tenant_id = ( SELECT farebox_private.own_tenant() AS own_tenant))))))));

CREATE POLICY own_rows ON farebox_private.corrections USING ((( SELECT farebox_private.sees_all() AS sees_all) OR (tenant_id = ( SELECT farebox_private.own_tenant() AS own_tenant)) OR (tenant_before = ( SELECT farebox_private.own_tenant() AS own_tenant))));

CREATE POLICY own_rows ON farebox_private.customers USING ((( SELECT farebox_private.sees_all() AS sees_all) OR (tenant_id = ( SELECT farebox_private.own_tenant() AS own_tenant))));

CREATE POLICY own_rows ON farebox_private.daily_sums USING ((( SELECT farebox_private.sees_all() AS sees_all) OR (tenant_id = ( SELECT farebox_private.own_tenant() AS own_tenant))));

CREATE POLICY own_rows ON farebox_private.event_links USING ((( SELECT farebox_private.sees_all() AS sees_all) OR (tenant_id = ( SELECT farebox_private.own_tenant() AS own_tenant))));

CREATE POLICY own_rows ON farebox_private.hourly_sums USING ((( SELECT farebox_private.sees_all() AS sees_all) OR (tenant_id = ( SELECT farebox_private.own_tenant() AS own_tenant))));

CREATE POLICY own_rows ON farebox_private.invoice_lines USING ((( SELECT farebox_private.sees_all() AS sees_all) OR (tenant_id = ( SELECT farebox_private.own_tenant() AS own_tenant))));

CREATE POLICY own_rows ON farebox_private.invoices USING ((( SELECT farebox_private.sees_all() AS sees_all) OR (tenant_id = ( SELECT farebox_private.own_tenant() AS own_tenant))));

CREATE POLICY own_rows ON farebox_private.key_activity USING ((( SELECT farebox_private.sees_all() AS sees_all) OR (key_id IN ( SELECT virtual_keys.key_id
   FROM farebox_private.virtual_keys
  WHERE (virtual_keys.tenant_id = ( SELECT farebox_private.own_tenant() AS own_tenant))))));

CREATE POLICY own_rows ON farebox_private.limit_events USING ((( SELECT farebox_private.sees_all() AS sees_all) OR (tenant_id = ( SELECT farebox_private.own_tenant() AS own_tenant))));

CREATE POLICY own_rows ON farebox_private.limit_leases USING ((( SELECT farebox_private.sees_all() AS sees_all) OR (tenant_id = ( SELECT farebox_private.own_tenant() AS own_tenant))));

CREATE POLICY own_rows ON farebox_private.limit_usage USING ((( SELECT farebox_private.sees_all() AS sees_all) OR (tenant_id = ( SELECT farebox_private.own_tenant() AS own_tenant))));

CREATE POLICY own_rows ON farebox_private.limits USING ((( SELECT farebox_private.sees_all() AS sees_all) OR (tenant_id = ( SELECT farebox_private.own_tenant() AS own_tenant))));

CREATE POLICY own_rows ON farebox_private.new_sums USING ((( SELECT farebox_private.sees_all() AS sees_all) OR (tenant_id = ( SELECT farebox_private.own_tenant() AS own_tenant))));

CREATE POLICY own_rows ON farebox_private.periods USING ((( SELECT farebox_private.sees_all() AS sees_all) OR (tenant_id = ( SELECT farebox_private.own_tenant() AS own_tenant))));

CREATE POLICY own_rows ON farebox_private.tenant_activity USING ((( SELECT farebox_private.sees_all() AS sees_all) OR (tenant_id = ( SELECT farebox_private.own_tenant() AS own_tenant))));

CREATE POLICY own_rows ON farebox_private.tenant_sessions USING ((( SELECT farebox_private.sees_all() AS sees_all) OR (tenant_id = ( SELECT farebox_private.own_tenant() AS own_tenant))));

CREATE POLICY own_rows ON farebox_private.tenants USING ((( SELECT farebox_private.sees_all() AS sees_all) OR (tenant_id = ( SELECT farebox_private.own_tenant() AS own_tenant))));

CREATE POLICY own_rows ON farebox_private.total_sums USING ((( SELECT farebox_private.sees_all() AS sees_all) OR (tenant_id = ( SELECT farebox_private.own_tenant() AS own_tenant))));

CREATE POLICY own_rows ON farebox_private.usage_events USING ((( SELECT farebox_private.sees_all() AS sees_all) OR (tenant_id = ( SELECT farebox_private.own_tenant() AS own_tenant))));

CREATE POLICY own_rows ON farebox_private.virtual_keys USING ((( SELECT farebox_private.sees_all() AS sees_all) OR (tenant_id = ( SELECT farebox_private.own_tenant() AS own_tenant))));

ALTER TABLE farebox_private.periods ENABLE ROW LEVEL SECURITY;

CREATE POLICY proxies_write_refusals ON farebox_private.audit_log AS RESTRICTIVE FOR INSERT TO farebox_proxy WITH CHECK ((action = 'call.refused'::text));

ALTER TABLE farebox_private.rate_card_revisions ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.received_sequences ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.reconciliation_lines ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.reconciliations ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.response_claims ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.retained ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.session_attributions ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.tenant_activity ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.tenant_logins ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.tenant_sessions ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.tenants ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.total_sums ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.usage_events ENABLE ROW LEVEL SECURITY;

ALTER TABLE farebox_private.virtual_keys ENABLE ROW LEVEL SECURITY;

GRANT USAGE ON SCHEMA farebox TO farebox_reader;
GRANT USAGE ON SCHEMA farebox TO farebox_collector;
GRANT USAGE ON SCHEMA farebox TO farebox_retention;
GRANT USAGE ON SCHEMA farebox TO farebox_tenant;

GRANT USAGE ON SCHEMA farebox_private TO farebox_proxy;
GRANT USAGE ON SCHEMA farebox_private TO farebox_collector;
GRANT USAGE ON SCHEMA farebox_private TO farebox_retention;

GRANT SELECT,INSERT ON TABLE farebox_private.adjustments TO farebox_collector;
GRANT SELECT ON TABLE farebox_private.adjustments TO farebox_retention;

GRANT SELECT,INSERT,UPDATE ON TABLE farebox_private.customers TO farebox_collector;
GRANT SELECT ON TABLE farebox_private.customers TO farebox_retention;

GRANT UPDATE(customer_id) ON TABLE farebox_private.customers TO farebox_retention;

GRANT UPDATE(name) ON TABLE farebox_private.customers TO farebox_retention;

GRANT UPDATE(settings) ON TABLE farebox_private.customers TO farebox_retention;

GRANT UPDATE(erased_at) ON TABLE farebox_private.customers TO farebox_retention;

GRANT SELECT ON TABLE farebox.adjustments TO farebox_reader;
GRANT SELECT ON TABLE farebox.adjustments TO farebox_collector;
GRANT SELECT ON TABLE farebox.adjustments TO farebox_tenant;

GRANT SELECT,INSERT ON TABLE farebox_private.invoice_lines TO farebox_collector;

GRANT SELECT ON TABLE farebox.invoice_lines TO farebox_reader;
GRANT SELECT ON TABLE farebox.invoice_lines TO farebox_collector;
GRANT SELECT ON TABLE farebox.invoice_lines TO farebox_tenant;

GRANT SELECT,INSERT ON TABLE farebox_private.invoices TO farebox_collector;

GRANT SELECT ON TABLE farebox.invoices TO farebox_reader;
GRANT SELECT ON TABLE farebox.invoices TO farebox_collector;
GRANT SELECT ON TABLE farebox.invoices TO farebox_tenant;

GRANT SELECT,INSERT ON TABLE farebox_private.limit_events TO farebox_collector;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE farebox_private.limits TO farebox_collector;

GRANT SELECT ON TABLE farebox.limit_events TO farebox_reader;
GRANT SELECT ON TABLE farebox.limit_events TO farebox_collector;
GRANT SELECT ON TABLE farebox.limit_events TO farebox_tenant;

GRANT SELECT ON TABLE farebox.limits TO farebox_reader;
GRANT SELECT ON TABLE farebox.limits TO farebox_collector;
GRANT SELECT ON TABLE farebox.limits TO farebox_tenant;

GRANT SELECT,INSERT ON TABLE farebox_private.event_links TO farebox_collector;
GRANT SELECT,DELETE ON TABLE farebox_private.event_links TO farebox_retention;

GRANT SELECT,INSERT ON TABLE farebox_private.usage_events TO farebox_collector;
GRANT SELECT,DELETE ON TABLE farebox_private.usage_events TO farebox_retention;

GRANT SELECT ON TABLE farebox.usage_events TO farebox_reader;
GRANT SELECT ON TABLE farebox.usage_events TO farebox_collector;
GRANT SELECT ON TABLE farebox.usage_events TO farebox_tenant;

GRANT SELECT,INSERT,UPDATE ON TABLE farebox_private.key_activity TO farebox_collector;

GRANT SELECT,INSERT,UPDATE ON TABLE farebox_private.virtual_keys TO farebox_collector;

GRANT SELECT ON TABLE farebox.virtual_keys TO farebox_reader;
GRANT SELECT ON TABLE farebox.virtual_keys TO farebox_collector;
GRANT SELECT ON TABLE farebox.virtual_keys TO farebox_tenant;

REVOKE ALL ON FUNCTION farebox.explain(event_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION farebox.explain(event_id uuid) TO farebox_reader;
GRANT ALL ON FUNCTION farebox.explain(event_id uuid) TO farebox_collector;
GRANT ALL ON FUNCTION farebox.explain(event_id uuid) TO farebox_tenant;

GRANT SELECT,INSERT,UPDATE ON TABLE farebox_private.rate_card_revisions TO farebox_collector;

GRANT SELECT,INSERT ON TABLE farebox_private.allowances TO farebox_collector;

GRANT SELECT,INSERT,UPDATE ON TABLE farebox_private.tenants TO farebox_collector;
GRANT SELECT ON TABLE farebox_private.tenants TO farebox_retention;

GRANT SELECT ON TABLE farebox.allowances TO farebox_reader;
GRANT SELECT ON TABLE farebox.allowances TO farebox_collector;
GRANT SELECT ON TABLE farebox.allowances TO farebox_tenant;

GRANT SELECT,INSERT ON TABLE farebox_private.corrections TO farebox_collector;
GRANT SELECT ON TABLE farebox_private.corrections TO farebox_retention;

GRANT SELECT ON TABLE farebox.unpriced_usage TO farebox_reader;
GRANT SELECT ON TABLE farebox.unpriced_usage TO farebox_collector;
GRANT SELECT ON TABLE farebox.unpriced_usage TO farebox_tenant;

GRANT SELECT,INSERT,UPDATE ON TABLE farebox_private.daily_sums TO farebox_collector;
GRANT SELECT ON TABLE farebox_private.daily_sums TO farebox_retention;

GRANT SELECT,DELETE ON TABLE farebox_private.new_sums TO farebox_collector;
GRANT SELECT ON TABLE farebox_private.new_sums TO farebox_retention;

GRANT SELECT ON TABLE farebox_private.usage_daily TO farebox_collector;
GRANT SELECT ON TABLE farebox_private.usage_daily TO farebox_retention;

GRANT SELECT ON TABLE farebox.usage_daily TO farebox_reader;
GRANT SELECT ON TABLE farebox.usage_daily TO farebox_collector;
GRANT SELECT ON TABLE farebox.usage_daily TO farebox_tenant;

REVOKE ALL ON FUNCTION farebox.invoice_preview(tenant text, month date) FROM PUBLIC;
GRANT ALL ON FUNCTION farebox.invoice_preview(tenant text, month date) TO farebox_reader;
GRANT ALL ON FUNCTION farebox.invoice_preview(tenant text, month date) TO farebox_collector;
GRANT ALL ON FUNCTION farebox.invoice_preview(tenant text, month date) TO farebox_tenant;

REVOKE ALL ON FUNCTION farebox_private.ledger_parts(from_day date, to_day date) FROM PUBLIC;
GRANT ALL ON FUNCTION farebox_private.ledger_parts(from_day date, to_day date) TO farebox_collector;

GRANT SELECT,INSERT,UPDATE ON TABLE farebox_private.hourly_sums TO farebox_collector;
GRANT SELECT ON TABLE farebox_private.hourly_sums TO farebox_retention;

GRANT SELECT,INSERT,UPDATE ON TABLE farebox_private.total_sums TO farebox_collector;

GRANT SELECT ON TABLE farebox_private.usage_hourly TO farebox_collector;
GRANT SELECT ON TABLE farebox_private.usage_hourly TO farebox_retention;

GRANT SELECT ON TABLE farebox_private.usage_totals TO farebox_collector;
GRANT SELECT ON TABLE farebox_private.usage_totals TO farebox_retention;

REVOKE ALL ON FUNCTION farebox_private.check_rollups(from_day date, to_day date) FROM PUBLIC;
GRANT ALL ON FUNCTION farebox_private.check_rollups(from_day date, to_day date) TO farebox_collector;

REVOKE ALL ON FUNCTION farebox_private.drop_expired_month(month date, default_days integer) FROM PUBLIC;
GRANT ALL ON FUNCTION farebox_private.drop_expired_month(month date, default_days integer) TO farebox_retention;

REVOKE ALL ON FUNCTION farebox_private.ensure_partition(month date) FROM PUBLIC;
GRANT ALL ON FUNCTION farebox_private.ensure_partition(month date) TO farebox_collector;

GRANT SELECT ON TABLE farebox_private.tenant_logins TO farebox_tenant;
GRANT SELECT ON TABLE farebox_private.tenant_logins TO farebox_reader;
GRANT SELECT ON TABLE farebox_private.tenant_logins TO farebox_collector;
GRANT SELECT ON TABLE farebox_private.tenant_logins TO farebox_proxy;
GRANT SELECT ON TABLE farebox_private.tenant_logins TO farebox_retention;

REVOKE ALL ON FUNCTION farebox_private.merge_sums() FROM PUBLIC;
GRANT ALL ON FUNCTION farebox_private.merge_sums() TO farebox_collector;

GRANT ALL ON FUNCTION farebox_private.modality(endpoint text) TO farebox_reader;
GRANT ALL ON FUNCTION farebox_private.modality(endpoint text) TO farebox_collector;
GRANT ALL ON FUNCTION farebox_private.modality(endpoint text) TO farebox_tenant;

REVOKE ALL ON FUNCTION farebox_private.rebuild_rollups(from_day date, to_day date) FROM PUBLIC;

REVOKE ALL ON FUNCTION farebox_private.renew_limit_leases(node_id text, node_epoch bigint, report jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION farebox_private.renew_limit_leases(node_id text, node_epoch bigint, report jsonb) TO farebox_proxy;

GRANT ALL ON FUNCTION farebox_private.session_digest(session_id text) TO farebox_reader;
GRANT ALL ON FUNCTION farebox_private.session_digest(session_id text) TO farebox_collector;
GRANT ALL ON FUNCTION farebox_private.session_digest(session_id text) TO farebox_tenant;

GRANT ALL ON FUNCTION farebox_private.session_idle() TO farebox_reader;
GRANT ALL ON FUNCTION farebox_private.session_idle() TO farebox_collector;
GRANT ALL ON FUNCTION farebox_private.session_idle() TO farebox_tenant;

GRANT SELECT,INSERT ON TABLE farebox_private.audit_log TO farebox_collector;
GRANT INSERT ON TABLE farebox_private.audit_log TO farebox_proxy;
GRANT INSERT ON TABLE farebox_private.audit_log TO farebox_retention;

GRANT SELECT ON TABLE farebox.audit_log TO farebox_reader;
GRANT SELECT ON TABLE farebox.audit_log TO farebox_collector;
GRANT SELECT ON TABLE farebox.audit_log TO farebox_tenant;

GRANT SELECT ON TABLE farebox.customers TO farebox_reader;
GRANT SELECT ON TABLE farebox.customers TO farebox_collector;
GRANT SELECT ON TABLE farebox.customers TO farebox_tenant;

GRANT SELECT ON TABLE farebox.dead_air_events TO farebox_reader;
GRANT SELECT ON TABLE farebox.dead_air_events TO farebox_collector;
GRANT SELECT ON TABLE farebox.dead_air_events TO farebox_tenant;

GRANT SELECT ON TABLE farebox_private.limit_leases TO farebox_collector;

GRANT SELECT ON TABLE farebox_private.limit_nodes TO farebox_collector;

GRANT SELECT ON TABLE farebox_private.limit_usage TO farebox_collector;

GRANT SELECT ON TABLE farebox.limit_status TO farebox_reader;
GRANT SELECT ON TABLE farebox.limit_status TO farebox_collector;
GRANT SELECT ON TABLE farebox.limit_status TO farebox_tenant;

GRANT SELECT ON TABLE farebox.margins TO farebox_reader;
GRANT SELECT ON TABLE farebox.margins TO farebox_collector;
GRANT SELECT ON TABLE farebox.margins TO farebox_tenant;

GRANT SELECT,INSERT,UPDATE ON TABLE farebox_private.nodes TO farebox_collector;

GRANT SELECT,INSERT,UPDATE ON TABLE farebox_private.received_sequences TO farebox_collector;

GRANT SELECT ON TABLE farebox.nodes TO farebox_reader;
GRANT SELECT ON TABLE farebox.nodes TO farebox_collector;
GRANT SELECT ON TABLE farebox.nodes TO farebox_tenant;

GRANT SELECT ON TABLE farebox.rate_cards TO farebox_reader;
GRANT SELECT ON TABLE farebox.rate_cards TO farebox_collector;
GRANT SELECT ON TABLE farebox.rate_cards TO farebox_tenant;

GRANT SELECT ON TABLE farebox.rates TO farebox_reader;
GRANT SELECT ON TABLE farebox.rates TO farebox_collector;
GRANT SELECT ON TABLE farebox.rates TO farebox_tenant;

GRANT SELECT,INSERT ON TABLE farebox_private.reconciliation_lines TO farebox_collector;

GRANT SELECT ON TABLE farebox.reconciliation_lines TO farebox_reader;
GRANT SELECT ON TABLE farebox.reconciliation_lines TO farebox_collector;
GRANT SELECT ON TABLE farebox.reconciliation_lines TO farebox_tenant;

GRANT SELECT,INSERT ON TABLE farebox_private.reconciliations TO farebox_collector;

GRANT SELECT ON TABLE farebox.reconciliations TO farebox_reader;
GRANT SELECT ON TABLE farebox.reconciliations TO farebox_collector;
GRANT SELECT ON TABLE farebox.reconciliations TO farebox_tenant;

GRANT SELECT ON TABLE farebox.requests TO farebox_reader;
GRANT SELECT ON TABLE farebox.requests TO farebox_collector;
GRANT SELECT ON TABLE farebox.requests TO farebox_tenant;

GRANT SELECT ON TABLE farebox.rule_margins TO farebox_reader;
GRANT SELECT ON TABLE farebox.rule_margins TO farebox_collector;
GRANT SELECT ON TABLE farebox.rule_margins TO farebox_tenant;

GRANT SELECT ON TABLE farebox.runs TO farebox_reader;
GRANT SELECT ON TABLE farebox.runs TO farebox_collector;
GRANT SELECT ON TABLE farebox.runs TO farebox_tenant;

GRANT SELECT ON TABLE farebox.sequence_holes TO farebox_reader;
GRANT SELECT ON TABLE farebox.sequence_holes TO farebox_collector;
GRANT SELECT ON TABLE farebox.sequence_holes TO farebox_tenant;

GRANT SELECT ON TABLE farebox.sessions TO farebox_reader;
GRANT SELECT ON TABLE farebox.sessions TO farebox_collector;
GRANT SELECT ON TABLE farebox.sessions TO farebox_tenant;

GRANT SELECT ON TABLE farebox.spans TO farebox_reader;
GRANT SELECT ON TABLE farebox.spans TO farebox_collector;
GRANT SELECT ON TABLE farebox.spans TO farebox_tenant;

GRANT SELECT,INSERT,UPDATE ON TABLE farebox_private.deployment TO farebox_collector;

GRANT SELECT ON TABLE farebox.stale_keys TO farebox_reader;
GRANT SELECT ON TABLE farebox.stale_keys TO farebox_collector;
GRANT SELECT ON TABLE farebox.stale_keys TO farebox_tenant;

GRANT SELECT,INSERT,UPDATE ON TABLE farebox_private.tenant_activity TO farebox_collector;

GRANT SELECT,INSERT ON TABLE farebox_private.tenant_sessions TO farebox_collector;

GRANT SELECT ON TABLE farebox.tenant_index TO farebox_reader;
GRANT SELECT ON TABLE farebox.tenant_index TO farebox_collector;
GRANT SELECT ON TABLE farebox.tenant_index TO farebox_tenant;

GRANT SELECT ON TABLE farebox.tenants TO farebox_reader;
GRANT SELECT ON TABLE farebox.tenants TO farebox_collector;
GRANT SELECT ON TABLE farebox.tenants TO farebox_tenant;

GRANT SELECT ON TABLE farebox.trace_events TO farebox_reader;
GRANT SELECT ON TABLE farebox.trace_events TO farebox_collector;
GRANT SELECT ON TABLE farebox.trace_events TO farebox_tenant;

GRANT SELECT ON TABLE farebox.turns TO farebox_reader;
GRANT SELECT ON TABLE farebox.turns TO farebox_collector;
GRANT SELECT ON TABLE farebox.turns TO farebox_tenant;

GRANT SELECT ON TABLE farebox.unattributed_usage TO farebox_reader;
GRANT SELECT ON TABLE farebox.unattributed_usage TO farebox_collector;
GRANT SELECT ON TABLE farebox.unattributed_usage TO farebox_tenant;

GRANT SELECT ON TABLE farebox.usage_hourly TO farebox_reader;
GRANT SELECT ON TABLE farebox.usage_hourly TO farebox_collector;
GRANT SELECT ON TABLE farebox.usage_hourly TO farebox_tenant;

GRANT SELECT ON TABLE farebox_private.agents TO farebox_collector;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE farebox_private.credentials TO farebox_collector;

GRANT SELECT,INSERT ON TABLE farebox_private.directory_changes TO farebox_collector;
GRANT SELECT ON TABLE farebox_private.directory_changes TO farebox_proxy;
GRANT DELETE ON TABLE farebox_private.directory_changes TO farebox_retention;

GRANT SELECT ON TABLE farebox_private.directory_credentials TO farebox_proxy;

GRANT SELECT ON TABLE farebox_private.directory_keys TO farebox_proxy;

GRANT SELECT ON TABLE farebox_private.directory_limits TO farebox_proxy;

GRANT SELECT ON TABLE farebox_private.directory_rate_cards TO farebox_proxy;
GRANT SELECT ON TABLE farebox_private.directory_rate_cards TO farebox_collector;

GRANT SELECT ON TABLE farebox_private.session_attributions TO farebox_collector;
GRANT SELECT,INSERT,UPDATE ON TABLE farebox_private.session_attributions TO farebox_proxy;
GRANT SELECT,DELETE ON TABLE farebox_private.session_attributions TO farebox_retention;

GRANT UPDATE(labels) ON TABLE farebox_private.session_attributions TO farebox_retention;

GRANT SELECT ON TABLE farebox_private.directory_sessions TO farebox_proxy;

GRANT SELECT ON TABLE farebox_private.directory_tenants TO farebox_proxy;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE farebox_private.idempotency_keys TO farebox_collector;
GRANT DELETE ON TABLE farebox_private.idempotency_keys TO farebox_retention;

GRANT SELECT,INSERT,UPDATE ON TABLE farebox_private.ingest_tokens TO farebox_collector;

GRANT INSERT ON TABLE farebox_private.new_sums_rows TO farebox_collector;

GRANT SELECT,INSERT ON TABLE farebox_private.objects TO farebox_collector;
GRANT SELECT,DELETE ON TABLE farebox_private.objects TO farebox_retention;

GRANT SELECT,INSERT,UPDATE ON TABLE farebox_private.periods TO farebox_collector;
GRANT SELECT ON TABLE farebox_private.periods TO farebox_retention;

GRANT SELECT,INSERT,UPDATE ON TABLE farebox_private.response_claims TO farebox_collector;
GRANT SELECT,DELETE ON TABLE farebox_private.response_claims TO farebox_retention;

GRANT SELECT ON TABLE farebox_private.retained TO farebox_collector;
GRANT SELECT,INSERT,UPDATE ON TABLE farebox_private.retained TO farebox_retention;

