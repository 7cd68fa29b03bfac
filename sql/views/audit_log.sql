create or replace view farebox.audit_log as
select
    audit_log.audit_id,
    audit_log.at,
    audit_log.actor,
    audit_log.action,
    audit_log.tenant_id,
    audit_log.entity_kind,
    audit_log.entity_id,
    audit_log.request_id,
    audit_log.details
from farebox_private.audit_log;

grant select on farebox.audit_log to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.audit_log is 'Who did what. Empty for tenants.';
comment on column farebox.audit_log.audit_id is 'Grows.';
comment on column farebox.audit_log.at is 'When.';
comment on column farebox.audit_log.actor is 'Who.';
comment on column farebox.audit_log.action is 'What, as noun.verb.';
comment on column farebox.audit_log.tenant_id is 'The tenant it concerns.';
comment on column farebox.audit_log.entity_kind is 'Kind of the thing it was done to.';
comment on column farebox.audit_log.entity_id is 'The thing it was done to.';
comment on column farebox.audit_log.request_id is 'The API request.';
comment on column farebox.audit_log.details is 'What changed; never a secret.';
