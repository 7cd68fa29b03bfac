use super::*;

const BUILT_IN: [&str; 3] = ["anthropic", "deepgram", "openai"];

fn parsed(file: &str, environment: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    parse_all(
        Some(("f.toml".to_owned(), file.to_owned())),
        &environment,
        &BUILT_IN,
    )
    .map_err(|mistakes| mistakes.0.iter().map(ToString::to_string).collect())
}

#[test]
fn nothing_said_is_every_default() {
    let settings = parsed("", &[]).unwrap();
    assert_eq!(settings.proxy.listen, ProxyConfig::default().listen);
    assert!(settings.database_url.is_none());
    assert_eq!(settings.upstreams.len(), BUILT_IN.len());
}

#[test]
fn the_environment_wins_over_the_file_and_is_typed_by_its_key() {
    let file = "[proxy]\nlisten = \"127.0.0.1:1\"\nworkers = 1\n";
    let settings = parsed(
        file,
        &[
            ("FAREBOX_PROXY__LISTEN", "127.0.0.1:2"),
            ("FAREBOX_PROXY__WORKERS", "3"),
            ("FAREBOX_PROXY__ALLOW_PLAINTEXT", "true"),
            ("FAREBOX_ADMIN_TOKEN", "operator"),
        ],
    )
    .unwrap();
    assert_eq!(settings.proxy.listen.unwrap().port(), 2);
    assert_eq!(settings.proxy.workers, 3);
    assert!(settings.proxy.allow_plaintext);
    assert_eq!(settings.admin_token.unwrap().expose(), "operator");
}

#[test]
fn an_underscore_of_a_variable_is_the_dash_of_a_name() {
    let file = "[upstreams.local-llm]\ndialect = \"openai\"\nbase_url = \"http://h:1\"\n";
    let settings = parsed(
        file,
        &[
            ("FAREBOX_UPSTREAMS__LOCAL_LLM__BASE_URL", "http://h:2"),
            ("FAREBOX_PROXY__HEADER_ALIASES__X_ORG", "x-farebox-tenant"),
            ("FAREBOX_PROXY__TLS__LISTEN", "127.0.0.1:3"),
            ("FAREBOX_PROXY__TLS__CERT", "c.pem"),
            ("FAREBOX_PROXY__TLS__KEY", "k.pem"),
        ],
    )
    .unwrap();
    let base_url = settings.upstreams["local-llm"].base_url.as_deref();
    assert_eq!(base_url, Some("http://h:2"));
    assert_eq!(settings.proxy.header_aliases["x-org"], "x-farebox-tenant");
    assert_eq!(settings.proxy.tls.unwrap().listen.port(), 3);
}

#[test]
fn an_upstream_without_an_address_of_its_own_needs_one() {
    let check = |file: &str| {
        let file = Some(("f.toml".to_owned(), file.to_owned()));
        parse_all(file, &BTreeMap::new(), &["bedrock"])
    };
    assert!(check("").is_ok());
    assert!(check("[upstreams.bedrock]\nbase_url = \"https://b.example\"\n").is_ok());
    let mistakes = check("[upstreams.bedrock]\nregion = \"us-east-1\"\n").unwrap_err();
    assert!(
        mistakes.0[0]
            .to_string()
            .contains("upstreams.bedrock: there is no address")
    );
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let file = "stray = 1\n[proxy]\nlisten = \"everywhere\"\nworkers = \"many\"\nlisen = 1\n\
                [upstreams.t]\ndialect = \"openai\"\nbase_url = \"ftp://x\"\n[cache]\nsize = 1\n";
    let mistakes = parsed(file, &[("FAREBOX_SPOOL__BYTES", "1")]).unwrap_err();
    for (place, words) in [
        ("f.toml:1:", "outside any section"),
        ("f.toml:3:", "proxy.listen"),
        ("f.toml:4:", "proxy.workers"),
        ("f.toml:5:", "unknown key `lisen`"),
        ("f.toml:6:", "prefixes of the path"),
        ("f.toml:8:", "base_url"),
        ("f.toml:9:", "unknown section `cache`"),
        ("FAREBOX_SPOOL__BYTES:", "unknown key `bytes`"),
    ] {
        assert!(
            mistakes
                .iter()
                .any(|mistake| mistake.starts_with(place) && mistake.contains(words)),
            "{place} {words} not in {mistakes:#?}"
        );
    }
    assert_eq!(mistakes.len(), 8, "{mistakes:#?}");
}

#[test]
fn broken_toml_says_its_line() {
    let mistakes = parsed("[proxy]\nlisten = \n", &[]).unwrap_err();
    assert!(mistakes[0].starts_with("f.toml:2:"), "{mistakes:?}");
}

#[test]
fn a_plain_listener_off_loopback_needs_a_word() {
    let check = |file: &str, is_fine: bool| {
        assert_eq!(parsed(file, &[]).is_ok(), is_fine, "{file}");
    };
    check("[proxy]\nlisten = \"0.0.0.0:80\"", false);
    check(
        "[proxy]\nlisten = \"0.0.0.0:80\"\nallow_plaintext = true",
        true,
    );
    check("[proxy]\nlisten = \"[::1]:80\"", true);
    check("[proxy]\nlisten = \"\"", false);
    check(
        "[proxy]\nlisten = \"\"\n[proxy.tls]\nlisten = \"0.0.0.0:443\"\ncert = \"c\"\nkey = \"k\"",
        true,
    );
    check("[proxy]\nops_listen = \"0.0.0.0:9464\"", false);
    check("[collector]\nlisten = \"0.0.0.0:80\"", false);
}

#[test]
fn secrets_come_from_variables_and_files_and_are_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secrets");
    std::fs::write(
        &file,
        "# first signs\nnewest-secret-of-all\n\nolder-secret-of-all-of-them\n",
    )
    .unwrap();
    let text = format!(
        "[keys]\nsecret_file = {:?}\n[upstreams.openai]\ncredential_env = \"MINE\"\n",
        file.display().to_string()
    );
    let settings = parsed(
        &text,
        &[
            ("MINE", "sk-mine"),
            ("OPENAI_API_KEY", "sk-other"),
            ("DEEPGRAM_API_KEY", "dg"),
        ],
    )
    .unwrap();
    let credential = |name: &str| settings.upstreams[name].credential.clone();
    assert_eq!(credential("openai").unwrap().expose(), "sk-mine");
    assert_eq!(credential("deepgram").unwrap().expose(), "dg");
    assert!(credential("anthropic").is_none());
    let secrets: Vec<&str> = settings.key_secrets.iter().map(Secret::expose).collect();
    assert_eq!(
        secrets,
        ["newest-secret-of-all", "older-secret-of-all-of-them"]
    );
    let printed = format!("{settings:?}");
    assert!(
        !printed.contains("sk-mine") && !printed.contains("newest"),
        "{printed}"
    );
}

#[test]
fn a_secret_file_that_is_missing_or_short_is_a_mistake() {
    let mistakes = parsed("[keys]\nsecret_file = \"/nowhere/at/all\"", &[]).unwrap_err();
    assert!(
        mistakes[0].starts_with("f.toml:2: keys.secret"),
        "{mistakes:?}"
    );
    let mistakes = parsed("[keys]\nsecret_env = \"S\"", &[("S", "short")]).unwrap_err();
    assert!(mistakes[0].contains("fewer than"), "{mistakes:?}");
}

#[test]
fn a_tls_listener_may_stand_without_a_certificate() {
    let address = "127.0.0.1:8444".parse().unwrap();
    for settings in [
        parsed("[proxy.tls]\nlisten = \"127.0.0.1:8444\"\n", &[]),
        parsed("", &[("FAREBOX_PROXY__TLS__LISTEN", "127.0.0.1:8444")]),
    ] {
        let settings = settings.unwrap();
        assert_eq!(settings.tls_listen, Some(address));
        assert!(settings.proxy.tls.is_none());
    }
    let half = parsed(
        "[proxy.tls]\nlisten = \"127.0.0.1:8444\"\ncert = \"c.pem\"\n",
        &[],
    );
    assert!(half.is_err_and(|mistakes| mistakes.iter().any(|text| text.contains("key"))));
}
