//! Which tools a key and its tenant may offer a model: functions by their names, hosted tools by their
//! types.
//!
//! Requests of all dialects name tools in a few shapes; whatever is offered in a shape that cannot be
//! read is not allowed.

use farebox_pricing::event::EndpointKind;
use http::header;
use http::request::Parts;
use serde_json::Value;

use super::held::Body;
use super::limits::is_json;
use super::{Caller, Passage};
use crate::Worker;
use crate::directory::is_tool_listed;
use crate::failure::{Code, Refusal};
use crate::framing::json::pick;
use crate::provider::Class;

/// Types under which a tool is the caller's own function and goes by its name.
const FUNCTION_TYPES: [&str; 2] = ["function", "custom"];

/// Refuses a call that offers a tool which is not on a list that holds for it. The body is held only
/// where there is a list.
pub(super) async fn check_tools(
    worker: &Worker,
    head: &Parts,
    caller: &Caller,
    passage: &Passage,
    body: &mut Body,
) -> Result<(), Refusal> {
    let of_key = caller.key.as_ref();
    let of_key = of_key.and_then(|key| key.allowed_tools.as_deref());
    let of_tenant = caller.tenant();
    let of_tenant = of_tenant.and_then(|tenant| tenant.lists().allowed_tools.as_deref());
    let lists: Vec<&[String]> = of_key.into_iter().chain(of_tenant).collect();
    if lists.is_empty() || passage.endpoint.class != Class::Metered {
        return Ok(());
    }
    if passage.transport == farebox_pricing::event::Transport::Websocket {
        // Its messages can offer tools at any time, after which nothing can be refused.
        return match passage.endpoint.kind {
            EndpointKind::Realtime | EndpointKind::Agent | EndpointKind::Responses => {
                Err(Refusal::from(Code::ToolNotAllowed)
                    .with_detail("A socket on this route could offer any tool."))
            }
            _ => Ok(()),
        };
    }
    if !is_json(head) && !head.headers.contains_key(header::CONTENT_ENCODING) {
        return Ok(());
    }
    let held = body.hold(worker).await?;
    let offered = match offered(held) {
        Some(offered) => offered,
        None if held.is_empty() => return Ok(()),
        None => {
            return Err(Refusal::from(Code::ToolNotAllowed)
                .with_detail("The tools of the request cannot be read."));
        }
    };
    for tool in offered {
        if !lists.iter().all(|list| is_tool_listed(list, &tool)) {
            return Err(Refusal::from(Code::ToolNotAllowed).with_detail(format!("Tool {tool:?}.")));
        }
    }
    Ok(())
}

/// The tools a request offers; `None`: it cannot be read.
fn offered(body: &[u8]) -> Option<Vec<String>> {
    const NAMES: [&str; 6] = [
        "tools",
        "functions",
        "toolConfig",
        "tool_config",
        "web_search_options",
        "mcp_servers",
    ];
    let picked = pick(body, NAMES)?;
    if picked.is_repeated {
        return None;
    }
    let [tools, functions, config, config_too, web_search, servers] = picked.members;
    let mut names = Vec::new();
    for raw in [tools, functions].into_iter().flatten() {
        take(&serde_json::from_str(raw.get()).ok()?, &mut names)?;
    }
    for raw in [config, config_too].into_iter().flatten() {
        let config: Value = serde_json::from_str(raw.get()).ok()?;
        if let Some(tools) = config.get("tools") {
            take(tools, &mut names)?;
        }
    }
    let is_there =
        |raw: Option<crate::framing::json::Raw<'_>>| raw.is_some_and(|raw| raw.get() != "null");
    if is_there(web_search) {
        names.push("web_search".to_owned());
    }
    if is_there(servers) {
        names.push("mcp".to_owned());
    }
    Some(names)
}

fn take(tools: &Value, names: &mut Vec<String>) -> Option<()> {
    match tools {
        Value::Null => {}
        Value::Array(tools) => {
            for tool in tools {
                names_of(tool.as_object()?, names)?;
            }
        }
        Value::Object(tool) => names_of(tool, names)?,
        _ => return None,
    }
    Some(())
}

/// The names of one entry: a function's own, a hosted tool's type, or the members it is made of.
fn names_of(tool: &serde_json::Map<String, Value>, names: &mut Vec<String>) -> Option<()> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let kind = tool.get("type").map(&text);
    match kind {
        Some(None) => return None,
        Some(Some(kind)) if !FUNCTION_TYPES.contains(&kind.as_str()) => {
            names.push(kind);
            return Some(());
        }
        _ => {}
    }
    let own = [
        tool.get("name"),
        tool.get("function")
            .and_then(|function| function.get("name")),
        tool.get("custom").and_then(|custom| custom.get("name")),
        tool.get("toolSpec").and_then(|spec| spec.get("name")),
    ];
    let own: Vec<&Value> = own.into_iter().flatten().collect();
    if !own.is_empty() {
        for name in own {
            names.push(text(name)?);
        }
        return Some(());
    }
    if tool.contains_key("type") {
        // A function without a name.
        return None;
    }
    for (member, value) in tool {
        match member.as_str() {
            "functionDeclarations" | "function_declarations" => {
                for function in value.as_array()? {
                    names.push(text(function.get("name")?)?);
                }
            }
            hosted => names.push(hosted.to_owned()),
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_read_in_every_dialects_shape() {
        let check = |body: &str, expected: Option<&[&str]>| {
            let found = offered(body.as_bytes());
            let found = found
                .as_deref()
                .map(|found| found.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(found.as_deref(), expected, "{body}");
        };
        check(r#"{"model":"m"}"#, Some(&[]));
        check(
            r#"{"tools":[{"type":"function","function":{"name":"f"}},{"type":"custom","custom":{"name":"c"}}]}"#,
            Some(&["f", "c"]),
        );
        check(
            r#"{"tools":[{"type":"function","name":"f"},{"type":"web_search_preview"},{"type":"mcp","server_label":"x"}]}"#,
            Some(&["f", "web_search_preview", "mcp"]),
        );
        check(
            r#"{"tools":[{"name":"f","input_schema":{}},{"type":"web_search_20250305","name":"web_search"}],"mcp_servers":[{}]}"#,
            Some(&["f", "web_search_20250305", "mcp"]),
        );
        check(
            r#"{"tools":[{"functionDeclarations":[{"name":"f"}]},{"googleSearch":{}}]}"#,
            Some(&["f", "googleSearch"]),
        );
        check(
            r#"{"toolConfig":{"tools":[{"toolSpec":{"name":"f"}}]}}"#,
            Some(&["f"]),
        );
        check(r#"{"toolConfig":{"functionCallingConfig":{}}}"#, Some(&[]));
        check(
            r#"{"functions":[{"name":"f"}],"web_search_options":{}}"#,
            Some(&["f", "web_search"]),
        );
        check(r#"{"tools":"all"}"#, None);
        check(r#"{"tools":[{"type":"function"}]}"#, None);
        check(r#"{"tools":[],"tools":[{"type":"web_search"}]}"#, None);
        check("not json", None);
    }
}
