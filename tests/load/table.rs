//! The printed result: one row a figure, and the machine it was measured on.

/// Rows in the order they were measured.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<[String; 4]>,
}

impl Table {
    /// One figure: its name, nginx's value, ours, and what the value is to be compared by.
    pub(crate) fn row(
        &mut self,
        figure: &str,
        nginx: String,
        farebox: Option<String>,
        compared: Option<String>,
    ) {
        self.rows.push([
            figure.to_owned(),
            nginx,
            farebox.unwrap_or_default(),
            compared.unwrap_or_default(),
        ]);
    }

    /// Prints it as Markdown.
    pub(crate) fn print(&self) {
        println!("\n{}\n", machine());
        println!("| figure | nginx | farebox | farebox against nginx |\n|---|---|---|---|");
        for [figure, nginx, farebox, compared] in &self.rows {
            println!("| {figure} | {nginx} | {farebox} | {compared} |");
        }
    }
}

/// What it runs on.
pub(crate) fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown processor", |rest| {
            rest.trim_start_matches([' ', '\t', ':'])
        });
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "Measured on {cores} × {model}, Linux {}, loopback only.",
        read("/proc/sys/kernel/osrelease").trim()
    )
}
