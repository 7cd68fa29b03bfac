create or replace view farebox.sequence_holes as
select
    received.node,
    received.epoch,
    lower(hole) as first_seq,
    upper(hole) - 1 as last_seq,
    upper(hole) - lower(hole) as missing
from farebox_private.received_sequences as received
cross join lateral unnest(
    int8multirange(int8range(1, upper(received.ranges))) - received.ranges
) as hole
where (select farebox_private.sees_all())
    and not isempty(received.ranges);

grant select on farebox.sequence_holes to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.sequence_holes is 'Settlements that a proxy numbered and that have not arrived, though later ones of the same process have. Empty for tenants.';
comment on column farebox.sequence_holes.node is 'The proxy.';
comment on column farebox.sequence_holes.epoch is 'Its process start.';
comment on column farebox.sequence_holes.first_seq is 'First number that is missing.';
comment on column farebox.sequence_holes.last_seq is 'Last number that is missing before the next that came.';
comment on column farebox.sequence_holes.missing is 'How many these are.';
