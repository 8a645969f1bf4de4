//! What the house tells of itself.

use crate::support::Gateway;

#[test]
fn the_names_of_the_metrics_are_pinned() {
    let gateway = Gateway::start();
    gateway.cli(&["register", "sick", "--endpoint", "http://127.0.0.1:9/mcp"]);
    assert_eq!(gateway.call("/mcp", "tools/list", "").status, 200);

    let shown = gateway.ask("GET", "/metrics", None);

    assert_eq!(shown.status, 200);
    let text = shown.text();
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    insta::assert_snapshot!(families.collect::<Vec<_>>().join("\n"));
}
