-- A selling rule may have steps and a minimum of its own; what it made of a quantity stands behind the
-- other members of a charge.
create or replace function farebox_private.charges_of(charges text, with_cost boolean) returns jsonb
    language sql immutable parallel safe
    return (
        select coalesce(jsonb_agg(
            jsonb_build_object(
                'model', charge -> 0,
                'meter', charge -> 1,
                'quantity', charge -> 2,
                'cost_rate', case
                    when with_cost and charge -> 3 <> 'null'
                    then jsonb_build_object('usd', charge -> 3 -> 0, 'per', charge -> 3 -> 1)
                end,
                'price_rate', case
                    when charge -> 4 <> 'null'
                    then jsonb_build_object('usd', charge -> 4 -> 0, 'per', charge -> 4 -> 1)
                end,
                'cost_usd', case when with_cost then charge -> 5 end,
                'billed_usd', charge -> 6,
                'cost_rule', case when with_cost then charge -> 7 end,
                'price_rule', charge -> 8
            ) || case
                when charge -> 9 is null then '{}'::jsonb
                else jsonb_build_object('billed_quantity', charge -> 9)
            end
            order by place
        ), '[]')
        from jsonb_array_elements(charges::jsonb) with ordinality as kept (charge, place)
    );
comment on column farebox_private.usage_events.charges is 'Each meter priced: [[model, meter, quantity, cost_rate, price_rate, cost_usd, billed_usd, cost_rule, price_rule]], a rate as [usd, per], and behind them the billed quantity where the selling rule has steps of its own; JSON as text, which charges_of reads.';
