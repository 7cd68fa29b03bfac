//! Cartesia: its usage as a table or as JSON items; the vendor has no usage API of its own. A character
//! spoken is a credit.

use serde_json::Value;

use super::{Vendor, VendorLine, table};

pub(super) static VENDOR: Vendor = Vendor {
    name: "cartesia",
    read,
    folds: &[("characters", "credits")],
};

fn read(documents: &[Value]) -> Result<Vec<VendorLine>, String> {
    table::read_items(VENDOR.name, documents)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_table_of_credits_is_read() {
        let csv = "date,model,credits,cost_usd\n2026-11-01,sonic-3,1200,0.078\n";
        let read = super::super::read("cartesia", &[csv.to_owned()]).unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].meter, "credits");
        assert_eq!(read[0].cost_usd.unwrap().to_string(), "0.078");
    }
}
