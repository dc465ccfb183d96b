//! Security groups as the API tells them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// All security groups and address groups.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct SecurityStatus {
    /// The configuration's number.
    pub generation: u64,
    /// Security groups, by name.
    pub groups: Vec<GroupStatus>,
    /// Address groups, by name.
    pub address_groups: Vec<AddressGroupStatus>,
}

/// A security group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct GroupStatus {
    /// Its name in the configuration.
    pub name: String,
    /// Whether replies to what it allows pass without a rule.
    pub stateful: bool,
    /// What its members may send: `all`, or what `rules` allow.
    pub egress: String,
    /// What it allows beside that, in the order of the file.
    pub rules: Vec<RuleStatus>,
    /// The ports that are in it, by name.
    pub ports: Vec<GroupPort>,
}

/// A rule of a group; the fields are those of the file, and what was not written is not there.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RuleStatus {
    /// `ingress` comes to the guest, `egress` from it.
    pub direction: String,
    /// `ipv4` or `ipv6`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ethertype: Option<String>,
    /// The protocol's name, or its number as a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// `80` or `8000-8080`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<String>,
    /// The ICMP type.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    /// The ICMP code.
    #[serde(rename = "code", default, skip_serializing_if = "Option::is_none")]
    pub icmp_code: Option<u8>,
    /// The other end's prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// The group of the other end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_group: Option<String>,
    /// The address group of the other end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_address_group: Option<String>,
    /// All of it in words.
    pub text: String,
}

/// A port that is in a group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct GroupPort {
    /// Its name.
    pub name: String,
    /// Its network.
    pub network: String,
    /// Whose network that is: rules that name the group mean its members of their own tenant.
    pub tenant: String,
    /// The addresses and prefixes by which it is a member.
    pub addresses: Vec<String>,
}

/// An address group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AddressGroupStatus {
    /// Its name in the configuration.
    pub name: String,
    /// Its prefixes.
    pub addresses: Vec<String>,
}
