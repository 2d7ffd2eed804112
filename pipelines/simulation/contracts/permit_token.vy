# pragma version ~=0.4.3
"""
An ERC-20 whose holders can approve by signature (ERC-2612).
"""
import ledger

initializes: ledger
exports: ledger.__interface__

DOMAIN: constant(bytes32) = keccak256(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
PERMIT: constant(bytes32) = keccak256(
    "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
)
DOMAIN_SEPARATOR: public(immutable(bytes32))
nonces: public(HashMap[address, uint256])


@deploy
def __init__(name_: String[32], symbol_: String[16], decimals_: uint8, supply: uint256):
    ledger.__init__(name_, symbol_, decimals_)
    DOMAIN_SEPARATOR = keccak256(
        abi_encode(DOMAIN, keccak256(name_), keccak256("1"), chain.id, self)
    )
    ledger._mint(msg.sender, supply)


@external
def permit(
    owner: address, spender: address, amount: uint256, deadline: uint256, v: uint8, r: bytes32, s: bytes32
):
    assert block.timestamp <= deadline, "expired"
    nonce: uint256 = self.nonces[owner]
    self.nonces[owner] = nonce + 1
    content: bytes32 = keccak256(abi_encode(PERMIT, owner, spender, amount, nonce, deadline))
    digest: bytes32 = keccak256(concat(x"1901", DOMAIN_SEPARATOR, content))
    assert owner != empty(address) and ecrecover(digest, v, r, s) == owner, "invalid permit"
    ledger.allowance[owner][spender] = amount
    log ledger.Approval(owner=owner, spender=spender, value=amount)
