//! Every route of the API against everybody who may ask: anonymous, another tenant, the tenant itself,
//! the operator. The routes are the document's own, which a unit test holds against the router.

use std::collections::BTreeMap;

use farebox_tests::stack::Stack;
use farebox_tests::wire::{Connection, Message, Request};
use serde_json::Value;

use crate::{Result, chat, fresh, text};

/// Routes that answer everybody.
const OPEN: [&str; 3] = ["/healthz", "/readyz", "/metrics"];
/// Routes of proxies, by their own tokens.
const OF_NODES: &str = "/ingest/";
/// What seals credentials at rest.
const MASTER_KEY: &str = "master-key-canary-of-a-test-0123456789abcdef";
/// An identity nobody has.
const NOBODY: &str = "01936b2e-8f00-7000-8000-000000000000";

/// A route with what it asks for: names of parameters in the path, whether `tenant` is one of the query.
struct Route {
    method: String,
    path: String,
    takes_tenant: bool,
}

/// A body that gets past the question whether it is one.
fn body_of(path: &str) -> &'static str {
    if path.contains("/credentials/") && path.ends_with("/rotate") {
        return r#"{"secret":"sk-taken"}"#;
    }
    "{}"
}

async fn ask(stack: &Stack, method: &str, path: &str, token: Option<&str>) -> Result<Message> {
    let mut request = Request::with_method(method, path);
    if method != "GET" {
        request = request
            .with("content-type", "application/json")
            .with_body(body_of(path));
    }
    if let Some(token) = token {
        request = request.bearer(token);
    }
    Connection::open(stack.api).await?.send(&request).await
}

/// Fills the path's parameters.
fn filled(path: &str, values: &BTreeMap<&str, String>) -> Result<String> {
    let mut filled = path.to_owned();
    while let Some((start, rest)) = filled.split_once('{') {
        let (name, end) = rest.split_once('}').ok_or("no end of a name")?;
        let value = values.get(name).ok_or_else(|| format!("{path}: {name}"))?;
        filled = format!("{start}{value}{end}");
    }
    Ok(filled)
}

/// An answer without what is another one each time or was only repeated.
fn told(answer: &Message, said: &str) -> (u16, String) {
    let mut body = answer.text().replace(said, "*");
    if let Ok(mut json) = serde_json::from_str::<Value>(&body) {
        if let Some(error) = json.get_mut("error").and_then(Value::as_object_mut) {
            error.remove("request_id");
        }
        body = json.to_string();
    }
    (answer.status(), body)
}

fn routes(document: &Value) -> Result<Vec<Route>> {
    let mut routes = Vec::new();
    for (path, methods) in document["paths"].as_object().ok_or("no paths")? {
        for (method, operation) in methods.as_object().ok_or("no methods")? {
            let parameters = operation["parameters"].as_array();
            let takes_tenant = parameters.is_some_and(|all| {
                all.iter()
                    .any(|one| one["name"] == "tenant" && one["in"] == "query")
            });
            routes.push(Route {
                method: method.to_uppercase(),
                path: path.clone(),
                takes_tenant,
            });
        }
    }
    Ok(routes)
}

#[tokio::test]
async fn every_route_answers_each_principal_as_it_may_and_foreign_is_missing() -> Result {
    let mut stack = Stack::prepare(&[]).await?;
    let master = stack.folder.path().join("master.key");
    std::fs::write(&master, MASTER_KEY)?;
    stack.set("credentials.master_key_file", &master.display().to_string());
    stack.start_collector().await?;
    stack.start_proxy().await?;
    let mut keys = BTreeMap::new();
    for tenant in ["acme", "globex"] {
        stack.done(&["tenant", "create", tenant])?;
        let scopes = [
            "--scope",
            "proxy",
            "--scope",
            "usage:read",
            "--scope",
            "admin",
        ];
        let key = stack.issue(&[&["--tenant", tenant][..], &scopes[..]].concat())?;
        stack.known(&key).await?;
        keys.insert(tenant, key);
    }
    let (own_key, foreign_key) = (&keys["acme"], &keys["globex"]);
    let (own, foreign) = (own_key.secret.as_str(), foreign_key.secret.as_str());

    // One of everything of the first tenant.
    stack.done(&["customer", "create", "c-1", "--tenant", "acme"])?;
    stack.done(&[
        "limit", "set", "--tenant", "acme", "--amount", "9", "--window", "day",
    ])?;
    let secret = stack.folder.path().join("provider.key");
    std::fs::write(&secret, "sk-of-acme")?;
    let secret = secret.to_str().ok_or("a path that is no text")?;
    let set = [
        "credential",
        "set",
        "--upstream",
        "anthropic",
        "--tenant",
        "acme",
    ];
    let set = [&set[..], &["--secret-file", secret, "--json"][..]].concat();
    let credential: Value = serde_json::from_str(&stack.done(&set)?)?;
    let call = chat(own_key, &fresh("matrix"))
        .with("x-farebox-customer", "c-1")
        .with("x-farebox-run", "run-1");
    assert_eq!(stack.send(&call).await?.status(), 200);
    let rows = stack.rows_when("true", 1).await?;
    let listed = |path: &'static str| {
        let stack = &stack;
        async move { Ok::<_, farebox_tests::Error>(stack.api(Request::get(path)).await?.json()) }
    };
    let limit = text(&listed("/api/v1/limits").await?["items"][0], "limit_id");
    let key = own_key.prefix().to_owned();
    let real = BTreeMap::from([
        ("tenant_id", "acme".to_owned()),
        ("customer_id", "c-1".to_owned()),
        ("event_id", text(&rows[0], "event_id")),
        ("run_id", "run-1".to_owned()),
        ("limit_id", limit),
        ("key", key),
        ("credential_id", text(&credential, "credential_id")),
        // Nobody but the operator reaches these, or there is none yet: any name does.
        ("batch_id", NOBODY.to_owned()),
        ("invoice", NOBODY.to_owned()),
        ("node", "nobody".to_owned()),
        ("reconciliation_id", NOBODY.to_owned()),
        ("revision", "0".repeat(64)),
        ("token_id", NOBODY.to_owned()),
    ]);
    let mut missing = real.clone();
    for (name, value) in [
        ("tenant_id", "nobody"),
        ("customer_id", "nobody"),
        ("event_id", NOBODY),
        ("run_id", "nothing"),
        ("limit_id", NOBODY),
        ("credential_id", NOBODY),
        ("key", "vk_AAAAA"),
    ] {
        missing.insert(name, value.to_owned());
    }

    let document = stack.api(Request::get("/openapi.json")).await?.json();
    let routes = routes(&document)?;
    assert!(routes.len() > 60, "{}", routes.len());
    let mut of_tenants = 0;
    for route in &routes {
        let Route { method, path, .. } = route;
        let there = filled(path, &real)?;
        let nowhere = filled(path, &missing)?;
        let what = format!("{method} {path}");

        let anonymous = ask(&stack, method, &there, None).await?;
        if OPEN.contains(&path.as_str()) {
            assert_eq!(anonymous.status(), 200, "{what}");
            continue;
        }
        assert_eq!(anonymous.status(), 401, "{what}: {}", anonymous.text());
        if path.starts_with(OF_NODES) {
            for token in [own, foreign] {
                assert_eq!(
                    ask(&stack, method, &there, Some(token)).await?.status(),
                    403
                );
            }
            continue;
        }

        let unknown = ask(&stack, method, "/api/v1/nothing", None).await?;
        assert_eq!(
            told(&anonymous, "\u{0}"),
            told(&unknown, "\u{0}"),
            "{what}: anonymous learns what there is"
        );

        // Another tenant's thing and one that nobody has are told alike.
        let of_another = ask(&stack, method, &there, Some(foreign)).await?;
        let of_nobody = ask(&stack, method, &nowhere, Some(foreign)).await?;
        let strip = |answer: &Message, values: &BTreeMap<&str, String>| {
            let (status, mut body) = told(answer, "\u{0}");
            for value in values.values() {
                body = body.replace(value.as_str(), "*");
            }
            (status, body)
        };
        if there != nowhere {
            assert_eq!(
                strip(&of_another, &real),
                strip(&of_nobody, &missing),
                "{what}: foreign is not missing"
            );
            assert!(
                matches!(of_another.status(), 403 | 404)
                    || (method != "GET" && of_another.status() == 400),
                "{what}: {} {}",
                of_another.status(),
                of_another.text()
            );
        } else if route.takes_tenant && of_another.status() != 403 {
            let mut told_of = Vec::new();
            for tenant in ["acme", "nobody"] {
                let asked = format!("{there}?tenant={tenant}");
                let answer = ask(&stack, method, &asked, Some(foreign)).await?;
                told_of.push(told(&answer, tenant));
            }
            let (another, nobody) = (&told_of[0], &told_of[1]);
            assert_eq!(another, nobody, "{what}: tenant=");
            // 400 where something else is asked for too.
            assert!(matches!(another.0, 400 | 404), "{what}: {another:?}");
        }

        let mut request = Request::with_method(method, &nowhere);
        if method != "GET" {
            request = request
                .with("content-type", "application/json")
                .with_body(body_of(&nowhere));
        }
        let operator = stack.api(request).await?;
        assert!(
            !matches!(operator.status(), 401 | 403 | 500..),
            "{what}: {} {}",
            operator.status(),
            operator.text()
        );
        if method != "GET" {
            continue;
        }
        let found = ask(&stack, method, &there, Some(own)).await?;
        let operator = stack.api(Request::get(&there)).await?;
        if found.status() == 403 {
            assert_eq!(
                of_another.status(),
                403,
                "{what}: for one tenant and not for another"
            );
            continue;
        }
        of_tenants += 1;
        assert!(
            found.status() == 200 || found.status() == operator.status(),
            "{what}: {} / {}",
            found.text(),
            operator.text()
        );
    }
    assert!(of_tenants > 15, "{of_tenants} routes are open to tenants");
    // Nothing of the first tenant was changed by the other.
    let key = listed("/api/v1/keys").await?;
    assert_eq!(key["items"].as_array().map(Vec::len), Some(2), "{key}");
    let again = chat(own_key, &fresh("matrix"));
    assert_eq!(stack.send(&again).await?.status(), 200);
    Ok(())
}
