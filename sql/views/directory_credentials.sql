create or replace view farebox_private.directory_credentials as
select
    credentials.credential_id,
    credentials.tenant_id,
    credentials.upstream,
    credentials.host,
    credentials.master_key_id,
    encode(credentials.wrapped_key, 'hex') as wrapped_key,
    encode(credentials.sealed, 'hex') as sealed
from farebox_private.credentials;

grant select on farebox_private.directory_credentials to farebox_proxy;
comment on view farebox_private.directory_credentials is 'What a proxy knows of provider credentials; useless without a master key.';
comment on column farebox_private.directory_credentials.credential_id is 'Identifier, kept when the secret is rotated.';
comment on column farebox_private.directory_credentials.tenant_id is 'The tenant whose own it is; null: the operator''s.';
comment on column farebox_private.directory_credentials.upstream is 'The configured upstream it is for.';
comment on column farebox_private.directory_credentials.host is 'Where it may be sent.';
comment on column farebox_private.directory_credentials.master_key_id is 'Which master key wraps the data key.';
comment on column farebox_private.directory_credentials.wrapped_key is 'The data key under the master key, in hexadecimal.';
comment on column farebox_private.directory_credentials.sealed is 'The secret under the data key, in hexadecimal.';
