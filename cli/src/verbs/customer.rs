//! `farebox customer`: the tenants' own end customers.

use clap::Subcommand;
use serde_json::json;

use super::{Column, ITEMS_MAX, print_item, print_items};
use crate::api::{Api, path_segment};
use crate::args::Reach;
use crate::failure::Outcome;
use crate::table::Align::{Left, Right};

const COLUMNS: [Column; 6] = [
    ("TENANT", Left, "tenant_id"),
    ("CUSTOMER", Left, "customer_id"),
    ("NAME", Left, "name"),
    ("CALLS", Right, "request_count"),
    ("COST USD", Right, "total_cost_usd"),
    ("BILLED USD", Right, "total_billed_usd"),
];

#[derive(Debug, Subcommand)]
pub(crate) enum CustomerVerb {
    /// All customers, or one tenant's.
    List {
        /// Only this tenant's.
        #[arg(long)]
        tenant: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// One customer.
    Show {
        customer: String,
        /// Its tenant.
        #[arg(long)]
        tenant: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Make a customer; its first call makes it too.
    Create {
        customer: String,
        /// Its tenant.
        #[arg(long)]
        tenant: String,
        /// A name for people.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// Erase a customer's id and name for good; what it used stays, under a random id.
    Erase {
        customer: String,
        /// Its tenant.
        #[arg(long)]
        tenant: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Name a customer.
    Set {
        customer: String,
        /// Its tenant.
        #[arg(long)]
        tenant: String,
        /// A name for people.
        #[arg(long)]
        name: String,
        #[command(flatten)]
        reach: Reach,
    },
}

pub(crate) fn run(verb: &CustomerVerb) -> Outcome {
    let path = |tenant: &str, customer: &str| {
        let (tenant, customer) = (path_segment(tenant), path_segment(customer));
        format!("/api/v1/tenants/{tenant}/customers/{customer}")
    };
    match verb {
        CustomerVerb::List { tenant, reach } => {
            let query: Vec<(&str, &str)> = tenant
                .iter()
                .map(|tenant| ("tenant", tenant.as_str()))
                .collect();
            let items = Api::reach(reach)?.list("/api/v1/customers", &query, ITEMS_MAX)?;
            print_items(&items, &COLUMNS, reach, "There is no customer yet.");
        }
        CustomerVerb::Show {
            customer,
            tenant,
            reach,
        } => print_item(
            &Api::reach(reach)?.get(&path(tenant, customer), &[])?,
            reach,
        ),
        CustomerVerb::Create {
            customer,
            tenant,
            name,
            reach,
        } => {
            let body = json!({"tenant_id": tenant, "customer_id": customer, "name": name});
            print_item(&Api::reach(reach)?.post("/api/v1/customers", &body)?, reach);
        }
        CustomerVerb::Erase {
            customer,
            tenant,
            reach,
        } => {
            let body = json!({"tenant_id": tenant, "customer_id": customer});
            let erased = Api::reach(reach)?.post("/api/v1/customers/erase", &body)?;
            print_item(&erased, reach);
        }
        CustomerVerb::Set {
            customer,
            tenant,
            name,
            reach,
        } => {
            let changed =
                Api::reach(reach)?.patch(&path(tenant, customer), &json!({ "name": name }))?;
            print_item(&changed, reach);
        }
    }
    Ok(())
}
