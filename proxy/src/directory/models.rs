//! Which models a call may use: one rule for those that a request names and those that a running socket's messages do.

use farebox_pricing::event::PaidBy;

use super::{KeyRow, Tenant, UnpricedModels};
use crate::failure::Code;

/// What key and tenant ask of a model.
pub(crate) struct ModelRule<'a> {
    /// A key with a list.
    key: Option<&'a KeyRow>,
    /// A tenant with one.
    tenant: Option<&'a Tenant>,
    /// Only what has a price may be used.
    wants_price: bool,
}

impl<'a> ModelRule<'a> {
    /// `None` where any model may be used.
    pub(crate) fn of(
        key: Option<&'a KeyRow>,
        tenant: Option<&'a Tenant>,
        paid_by: PaidBy,
    ) -> Option<Self> {
        let refuses_unpriced =
            |tenant: &Tenant| tenant.settings().unpriced_models == UnpricedModels::Refuse;
        let rule = Self {
            key: key.filter(|key| key.allowed_models.is_some()),
            tenant: tenant.filter(|tenant| tenant.lists().allowed_models.is_some()),
            wants_price: paid_by == PaidBy::Operator && tenant.is_some_and(refuses_unpriced),
        };
        (rule.is_listed() || rule.wants_price).then_some(rule)
    }

    /// Only some models may be used, so the choice may not be left to the vendor.
    pub(crate) fn is_listed(&self) -> bool {
        self.key.is_some() || self.tenant.is_some()
    }

    /// Why a model may not be used. `is_sold` says whether it has a price; it is asked only where that counts.
    pub(crate) fn refuses(&self, model: &str, is_sold: impl FnOnce() -> bool) -> Option<Code> {
        if self.key.is_some_and(|key| !key.may_use(model))
            || self.tenant.is_some_and(|tenant| !tenant.may_use(model))
        {
            return Some(Code::ModelNotAllowed);
        }
        (self.wants_price && !is_sold()).then_some(Code::ModelUnpriced)
    }
}
