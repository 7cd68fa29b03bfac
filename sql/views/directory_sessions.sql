create or replace view farebox_private.directory_sessions as
select
    sessions.key_id,
    sessions.session_id,
    sessions.tenant_id,
    sessions.labels,
    sessions.changed_xid
from farebox_private.session_attributions as sessions;

grant select on farebox_private.directory_sessions to farebox_proxy;
comment on view farebox_private.directory_sessions is 'What proxies tell each other of sessions.';
comment on column farebox_private.directory_sessions.key_id is 'The virtual key; all zeros: callers without one.';
comment on column farebox_private.directory_sessions.session_id is 'The session.';
comment on column farebox_private.directory_sessions.tenant_id is 'Its tenant; null: none yet.';
comment on column farebox_private.directory_sessions.labels is 'What its later calls inherit.';
comment on column farebox_private.directory_sessions.changed_xid is 'The transaction that added to it last.';
