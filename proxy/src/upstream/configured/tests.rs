use super::*;

fn hosts(upstreams: &BTreeMap<String, UpstreamConfig>, paths: &[&str]) -> Vec<String> {
    crate::tls::install_provider();
    let config = Config {
        proxy: config::ProxyConfig::default(),
        spool: config::SpoolConfig::default(),
        metrics: config::MetricsConfig::default(),
        upstreams: upstreams.clone(),
        database_url: None,
        database_listen_url: None,
        key_secrets: Vec::new(),
        ship_to: None,
        directory_copy: std::path::PathBuf::new(),
        master_keys: None,
        tenant_form: farebox_pricing::id::Form::default(),
    };
    let built = upstreams_of(&config).unwrap();
    let mut taken: Vec<usize> = built
        .values()
        .flat_map(|upstream| {
            let elsewhere = upstream.elsewhere.iter().map(|(_, other)| other.index);
            elsewhere.chain([upstream.index])
        })
        .collect();
    taken.sort_unstable();
    assert!(taken.iter().copied().eq(0..slots_of(&built)));
    let upstream = &built["assemblyai"];
    let host = |path: &&str| {
        let endpoint = upstream.provider.endpoint(&http::Method::POST, path);
        let serving = upstream.serving(endpoint.expect("it is listed"));
        assert_eq!(serving.name, "assemblyai");
        serving.origin.host.clone()
    };
    paths.iter().map(host).collect()
}

#[test]
fn a_route_picks_its_host_and_a_set_base_url_takes_them_all() {
    let paths = ["/v2/transcript", "/v1/transcribe", "/v1/speech"];
    assert_eq!(
        hosts(&BTreeMap::new(), &paths),
        [
            "api.assemblyai.com",
            "sync.assemblyai.com",
            "tts.us.assemblyai.com"
        ]
    );
    let own = UpstreamConfig {
        base_url: Some("http://127.0.0.1:9".to_owned()),
        ..UpstreamConfig::default()
    };
    let configured = BTreeMap::from([("assemblyai".to_owned(), own)]);
    assert_eq!(hosts(&configured, &paths), ["127.0.0.1"; 3]);
}
