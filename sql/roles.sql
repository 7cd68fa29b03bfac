-- Roles are cluster-wide, so this file is run once a cluster by somebody who may create roles;
-- `farebox migrate` runs it when it may, `farebox migrate --print-roles` prints it for the DBA.
-- The names' prefix `farebox` is configurable; the text is rewritten before it runs or is printed.
-- Logins are given to these roles by the operator: `grant farebox_collector to some_login`.
do $roles$
declare
    role_name text;
begin
    foreach role_name in array array[
        'farebox_owner', 'farebox_proxy', 'farebox_collector',
        'farebox_reader', 'farebox_retention', 'farebox_tenant'
    ]
    loop
        if not exists (select from pg_catalog.pg_roles where rolname = role_name) then
            execute format(
                'create role %I nologin nosuperuser nocreatedb nocreaterole noreplication nobypassrls',
                role_name
            );
        end if;
    end loop;
    -- The owner makes the two schemas.
    execute format('grant create, connect on database %I to farebox_owner', current_database());
    execute format(
        'grant connect, temporary on database %I to farebox_proxy, farebox_collector, farebox_reader, farebox_retention',
        current_database()
    );
    execute format('grant connect on database %I to farebox_tenant', current_database());
end
$roles$;

comment on role farebox_owner is 'Owns Farebox''s schemas and everything in them; migrations run as it. No login, no superuser.';
comment on role farebox_proxy is 'The data plane: reads the directory, nothing else.';
comment on role farebox_collector is 'Books usage and serves the API; cannot change or delete a booked event.';
comment on role farebox_reader is 'Reads every tenant through the public views; the operator''s dashboards.';
comment on role farebox_retention is 'Removes what the retention rules let go.';
comment on role farebox_tenant is 'Group of all tenants'' own logins: each sees the rows of its tenant through the public views.';
