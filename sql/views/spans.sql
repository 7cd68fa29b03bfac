create or replace view farebox.spans as
select
    steps.tenant_id,
    steps.run_id,
    steps.span_id,
    steps.parent_span_id,
    steps.section,
    case
        when split_part(steps.section, ':', 1) in ('agent', 'tool', 'step') and steps.section like '%:%'
        then split_part(steps.section, ':', 1)
    end as kind,
    case
        when split_part(steps.section, ':', 1) in ('agent', 'tool', 'step') and steps.section like '%:%'
        then substr(steps.section, strpos(steps.section, ':') + 1)
        else steps.section
    end as name,
    walk.path || steps.span_id as path,
    walk.sections || coalesce(steps.section, steps.span_id) as sections,
    cardinality(walk.path) + 1 as depth,
    steps.started_at,
    steps.ended_at,
    steps.request_count,
    steps.event_count,
    steps.error_count,
    steps.total_cost_usd,
    steps.total_billed_usd,
    steps.unpriced_events,
    steps.unknown_events
from (
    select
        events.tenant_id,
        events.run_id,
        coalesce(events.span_id, events.parent_span_id) as span_id,
        -- A traceparent names the step that calls, which is the call's own.
        max(case when events.span_id is not null then events.parent_span_id end) as parent_span_id,
        max(events.section) as section,
        min(events.started_at) as started_at,
        max(coalesce(events.ended_at, events.started_at)) as ended_at,
        count(*) filter (where events.attempt = 1 and events.part = 1) as request_count,
        count(*) as event_count,
        count(*) filter (where events.ending not in ('complete', 'continues')) as error_count,
        trim_scale(sum(coalesce(events.cost_usd, 0) + coalesce(adjusted.cost_usd, 0)) filter (
            where ((select farebox_private.sees_all()) or events.paid_by <> 'operator')
                and (events.cost_usd is not null or adjusted.cost_usd is not null)
        )) as total_cost_usd,
        trim_scale(sum(coalesce(events.billed_usd, 0) + coalesce(adjusted.billed_usd, 0)) filter (
            where events.billed_usd is not null or adjusted.billed_usd is not null
        )) as total_billed_usd,
        count(*) filter (where events.pricing in ('unpriced', 'partial')) as unpriced_events,
        count(*) filter (where events.pricing = 'unknown') as unknown_events
    from farebox_private.usage_events as events
    left join lateral (
        select
            sum(adjustments.cost_usd) as cost_usd,
            sum(adjustments.billed_usd) as billed_usd
        from farebox_private.adjustments
        where adjustments.event_id = events.event_id
            and adjustments.tenant_id is not distinct from events.tenant_id
    ) as adjusted on true
    where events.run_id is not null
        and coalesce(events.span_id, events.parent_span_id) is not null
    group by events.tenant_id, events.run_id, coalesce(events.span_id, events.parent_span_id)
) as steps
-- From the step up to the root; a step that was entered before, or one past the bound, ends the walk.
cross join lateral (
    with recursive above (path, sections, next_span_id) as (
        select array[]::text[], array[]::text[], steps.parent_span_id
        union all
        select
            array_prepend(above.next_span_id, above.path),
            array_prepend(coalesce(parent.section, above.next_span_id), above.sections),
            parent.parent_span_id
        from above
        left join lateral (
            select
                max(case when events.span_id is not null then events.parent_span_id end) as parent_span_id,
                max(events.section) as section
            from farebox_private.usage_events as events
            where events.run_id = steps.run_id
                and events.tenant_id is not distinct from steps.tenant_id
                and events.span_id = above.next_span_id
        ) as parent on true
        where above.next_span_id is not null
            and above.next_span_id <> steps.span_id
            and above.next_span_id <> all (above.path)
            and cardinality(above.path) < 64
    )
    select above.path, above.sections
    from above
    order by cardinality(above.path) desc
    limit 1
) as walk;

grant select on farebox.spans to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.spans is 'Steps of runs, as a tree: by x-farebox-span and x-farebox-parent-span, or the parent id of traceparent. Sums are the step''s own; a path that holds a step''s id holds everything below it.';
comment on column farebox.spans.tenant_id is 'The tenant; null: unattributed.';
comment on column farebox.spans.run_id is 'The run.';
comment on column farebox.spans.span_id is 'The step; unique in its run.';
comment on column farebox.spans.parent_span_id is 'The step above it; null: a root, or none was named.';
comment on column farebox.spans.section is 'As sent, such as agent:planner, tool:search or step:2.';
comment on column farebox.spans.kind is 'agent, tool or step, when the section begins with it.';
comment on column farebox.spans.name is 'The section without its kind.';
comment on column farebox.spans.path is 'Ids from the root to this step, at most 64.';
comment on column farebox.spans.sections is 'Sections from the root to this step; an id stands for a step without one.';
comment on column farebox.spans.depth is 'Length of the path: 1 for a root.';
comment on column farebox.spans.started_at is 'Begin of its first call.';
comment on column farebox.spans.ended_at is 'End of its latest call, or that call''s begin where the end is not known.';
comment on column farebox.spans.request_count is 'Calls made in this step itself.';
comment on column farebox.spans.event_count is 'Rows of usage_events.';
comment on column farebox.spans.error_count is 'Events that did not end complete.';
comment on column farebox.spans.total_cost_usd is 'What the providers charge, as far as priced, with all adjustments booked to the tenant; tenants see what they pay themselves.';
comment on column farebox.spans.total_billed_usd is 'What the operator charges, as far as priced, with all adjustments booked to the tenant.';
comment on column farebox.spans.unpriced_events is 'Events with pricing unpriced or partial.';
comment on column farebox.spans.unknown_events is 'Events of which no usage is known.';
