# pragma version ~=0.4.3
"""
Pays many receivers at once, in ether or in a token.
"""

interface Token:
    def transferFrom(owner: address, to: address, amount: uint256) -> bool: nonpayable


@external
@payable
def disperseEther(recipients: DynArray[address, 400], values: DynArray[uint256, 400]):
    for i: uint256 in range(len(recipients), bound=400):
        raw_call(recipients[i], b"", value=values[i])
    if self.balance > 0:
        raw_call(msg.sender, b"", value=self.balance)


@external
def disperseToken(token: address, recipients: DynArray[address, 400], values: DynArray[uint256, 400]):
    for i: uint256 in range(len(recipients), bound=400):
        assert extcall Token(token).transferFrom(msg.sender, recipients[i], values[i])


@external
def collect(token: address, owners: DynArray[address, 400], values: DynArray[uint256, 400], to: address):
    """
    Moves approved tokens of many owners; each owner must have named the caller as operator.
    """
    for i: uint256 in range(len(owners), bound=400):
        assert self.operator[owners[i]] == msg.sender, "not operator"
        assert extcall Token(token).transferFrom(owners[i], to, values[i])


operator: public(HashMap[address, address])


@external
def setOperator(account: address):
    self.operator[msg.sender] = account
