"""Well-known function selectors and event topics with their signatures, for people to read.

A selector is the first four bytes of the Keccak-256 of the signature, a topic all of it (Solidity contract
ABI specification). Two signatures can share a selector: the text is a hint, not a proof.
"""

SELECTORS: dict[str, str] = {
    "a9059cbb": "transfer(address,uint256)",
    "23b872dd": "transferFrom(address,address,uint256)",
    "095ea7b3": "approve(address,uint256)",
    "39509351": "increaseAllowance(address,uint256)",
    "a457c2d7": "decreaseAllowance(address,uint256)",
    "d505accf": "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)",
    "70a08231": "balanceOf(address)",
    "dd62ed3e": "allowance(address,address)",
    "18160ddd": "totalSupply()",
    "313ce567": "decimals()",
    "06fdde03": "name()",
    "95d89b41": "symbol()",
    "7ecebe00": "nonces(address)",
    "3644e515": "DOMAIN_SEPARATOR()",
    "40c10f19": "mint(address,uint256)",
    "6a627842": "mint(address)",
    "a0712d68": "mint(uint256)",
    "42966c68": "burn(uint256)",
    "89afcb44": "burn(address)",
    "79cc6790": "burnFrom(address,uint256)",
    "d0e30db0": "deposit()",
    "b6b55f25": "deposit(uint256)",
    "6e553f65": "deposit(uint256,address)",
    "2e1a7d4d": "withdraw(uint256)",
    "b460af94": "withdraw(uint256,address,address)",
    "3ccfd60b": "withdraw()",
    "db006a75": "redeem(uint256)",
    "ba087652": "redeem(uint256,address,address)",
    "c6e6f592": "convertToShares(uint256)",
    "07a2d13a": "convertToAssets(uint256)",
    "8da5cb5b": "owner()",
    "f2fde38b": "transferOwnership(address)",
    "715018a6": "renounceOwnership()",
    "79ba5097": "acceptOwnership()",
    "8129fc1c": "initialize()",
    "c4d66de8": "initialize(address)",
    "485cc955": "initialize(address,address)",
    "cf7a1d77": "initialize(address,address,bytes)",
    "3659cfe6": "upgradeTo(address)",
    "4f1ef286": "upgradeToAndCall(address,bytes)",
    "5c60da1b": "implementation()",
    "f851a440": "admin()",
    "8f283970": "changeAdmin(address)",
    "8456cb59": "pause()",
    "3f4ba83a": "unpause()",
    "2f2ff15d": "grantRole(bytes32,address)",
    "d547741f": "revokeRole(bytes32,address)",
    "91d14854": "hasRole(bytes32,address)",
    "022c0d9f": "swap(uint256,uint256,address,bytes)",
    "128acb08": "swap(address,bool,int256,uint160,bytes)",
    "0902f1ac": "getReserves()",
    "0dfe1681": "token0()",
    "d21220a7": "token1()",
    "fff6cae9": "sync()",
    "bc25cf77": "skim(address)",
    "3850c7bd": "slot0()",
    "ddca3f43": "fee()",
    "e6a43905": "getPair(address,address)",
    "c9c65396": "createPair(address,address)",
    "10d1e85c": "uniswapV2Call(address,uint256,uint256,bytes)",
    "fa461e33": "uniswapV3SwapCallback(int256,int256,bytes)",
    "e9cbafb0": "uniswapV3FlashCallback(uint256,uint256,bytes)",
    "84800812": "pancakeCall(address,uint256,uint256,bytes)",
    "e8e33700": "addLiquidity(address,address,uint256,uint256,uint256,uint256,address,uint256)",
    "f305d719": "addLiquidityETH(address,uint256,uint256,uint256,address,uint256)",
    "baa2abde": "removeLiquidity(address,address,uint256,uint256,uint256,address,uint256)",
    "02751cec": "removeLiquidityETH(address,uint256,uint256,uint256,address,uint256)",
    "38ed1739": "swapExactTokensForTokens(uint256,uint256,address[],address,uint256)",
    "8803dbee": "swapTokensForExactTokens(uint256,uint256,address[],address,uint256)",
    "7ff36ab5": "swapExactETHForTokens(uint256,address[],address,uint256)",
    "fb3bdb41": "swapETHForExactTokens(uint256,address[],address,uint256)",
    "18cbafe5": "swapExactTokensForETH(uint256,uint256,address[],address,uint256)",
    "4a25d94a": "swapTokensForExactETH(uint256,uint256,address[],address,uint256)",
    "791ac947": (
        "swapExactTokensForETHSupportingFeeOnTransferTokens(uint256,uint256,address[],address,uint256)"
    ),
    "5c11d795": (
        "swapExactTokensForTokensSupportingFeeOnTransferTokens(uint256,uint256,address[],address,uint256)"
    ),
    "b6f9de95": "swapExactETHForTokensSupportingFeeOnTransferTokens(uint256,address[],address,uint256)",
    "414bf389": "exactInputSingle((address,address,uint24,address,uint256,uint256,uint256,uint160))",
    "c04b8d59": "exactInput((bytes,address,uint256,uint256,uint256))",
    "ac9650d8": "multicall(bytes[])",
    "5ae401dc": "multicall(uint256,bytes[])",
    "3593564c": "execute(bytes,bytes[],uint256)",
    "24856bc3": "execute(bytes,bytes[])",
    "6a761202": "execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)",
    "c5ebeaec": "borrow(uint256)",
    "a415bcad": "borrow(address,uint256,uint256,uint16,address)",
    "573ade81": "repay(address,uint256,uint256,address)",
    "0e752702": "repayBorrow(uint256)",
    "f5e3c462": "liquidateBorrow(address,uint256,address)",
    "00a718a9": "liquidationCall(address,address,address,uint256,bool)",
    "5ec88c79": "getAccountLiquidity(address)",
    "182df0f5": "exchangeRateStored()",
    "bd6d894d": "exchangeRateCurrent()",
    "50d25bcd": "latestAnswer()",
    "feaf968c": "latestRoundData()",
    "5cffe9de": "flashLoan(address,address,uint256,bytes)",
    "ab9c4b5d": "flashLoan(address,address[],uint256[],uint256[],address,bytes,uint16)",
    "5c38449e": "flashLoan(address,address[],uint256[],bytes)",
    "23e30c8b": "onFlashLoan(address,address,uint256,uint256,bytes)",
    "920f5c84": "executeOperation(address[],uint256[],uint256[],address,bytes)",
    "50ed2dba": "executeOperation(address,uint256,uint256,uint256,bytes)",
    "f04f2707": "receiveFlashLoan(address[],uint256[],uint256[],bytes)",
    "3df02124": "exchange(int128,int128,uint256,uint256)",
    "a6417ed6": "exchange_underlying(int128,int128,uint256,uint256)",
    "bb7b8b80": "get_virtual_price()",
    "0b4c7e4d": "add_liquidity(uint256[2],uint256)",
    "4515cef3": "add_liquidity(uint256[3],uint256)",
    "1a4d01d2": "remove_liquidity_one_coin(uint256,int128,uint256)",
    "a694fc3a": "stake(uint256)",
    "2e17de78": "unstake(uint256)",
    "3d18b912": "getReward()",
    "4e71d92d": "claim()",
    "4641257d": "harvest()",
    "d389800f": "earn()",
    "6352211e": "ownerOf(uint256)",
    "42842e0e": "safeTransferFrom(address,address,uint256)",
    "b88d4fde": "safeTransferFrom(address,address,uint256,bytes)",
    "f242432a": "safeTransferFrom(address,address,uint256,uint256,bytes)",
    "2eb2c2d6": "safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)",
    "a22cb465": "setApprovalForAll(address,bool)",
    "e985e9c5": "isApprovedForAll(address,address)",
    "150b7a02": "onERC721Received(address,address,uint256,bytes)",
    "f23a6e61": "onERC1155Received(address,address,uint256,uint256,bytes)",
    "01ffc9a7": "supportsInterface(bytes4)",
    "1626ba7e": "isValidSignature(bytes32,bytes)",
    "0023de29": "tokensReceived(address,address,address,uint256,bytes,bytes)",
    "08c379a0": "Error(string)",
    "4e487b71": "Panic(uint256)",
}

TOPICS: dict[str, str] = {
    "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef": "Transfer(address,address,uint256)",
    "8c5be1e5ebec7d5bd14f71427d1e84f3dd0314c0f7b2291e5b200ac8c7c3b925": "Approval(address,address,uint256)",
    "17307eab39ab6107e8899845ad3d59bd9653f200f220920489ca2b5937696c31": (
        "ApprovalForAll(address,address,bool)"
    ),
    "c3d58168c5ae7397731d063d5bbf3d657854427343f4c083240f7aacaa2d0f62": (
        "TransferSingle(address,address,address,uint256,uint256)"
    ),
    "4a39dc06d4c0dbc64b70af90fd698a233a518aa5d07e595d983b8c0526c8f7fb": (
        "TransferBatch(address,address,address,uint256[],uint256[])"
    ),
    "e1fffcc4923d04b559f4d29a8bfc6cda04eb5b0d3c460751c2402c5c5cc9109c": "Deposit(address,uint256)",
    "7fcf532c15f0a6db0bd6d0e038bea71d30d808c7d98cb3bf7268a95bf5081b65": "Withdrawal(address,uint256)",
    "dcbc1c05240f31ff3ad067ef1ee35ce4997762752e3a095284754544f4c709d7": (
        "Deposit(address,address,uint256,uint256)"
    ),
    "fbde797d201c681b91056529119e0b02407c7bb96a4a2c75c01fc9667232c8db": (
        "Withdraw(address,address,address,uint256,uint256)"
    ),
    "d78ad95fa46c994b6551d0da85fc275fe613ce37657fb8d5e3d130840159d822": (
        "Swap(address,uint256,uint256,uint256,uint256,address)"
    ),
    "c42079f94a6350d7e6235f29174924f928cc2ac818eb64fed8004e115fbcca67": (
        "Swap(address,address,int256,int256,uint160,uint128,int24)"
    ),
    "1c411e9a96e071241c2f21f7726b17ae89e3cab4c78be50e062b03a9fffbbad1": "Sync(uint112,uint112)",
    "4c209b5fc8ad50758f13e2e1088ba56a560dff690a1c6fef26394f4c03821c4f": "Mint(address,uint256,uint256)",
    "dccd412f0b1252819cb1fd330b93224ca42612892bb3f4f789976e6d81936496": (
        "Burn(address,uint256,uint256,address)"
    ),
    "7a53080ba414158be7ec69b987b5fb7d07dee101fe85488f0853ae16239d0bde": (
        "Mint(address,address,int24,int24,uint128,uint256,uint256)"
    ),
    "0c396cd989a39f4459b5fa1aed6a9a8dcdbc45908acfd67e028cd568da98982c": (
        "Burn(address,int24,int24,uint128,uint256,uint256)"
    ),
    "70935338e69775456a85ddef226c395fb668b63fa0115f5f20610b388e6ca9c0": (
        "Collect(address,address,int24,int24,uint128,uint128)"
    ),
    "bdbdb71d7860376ba52b25a5028beea23581364a40522f6bcfb86bb1f2dca633": (
        "Flash(address,address,uint256,uint256,uint256,uint256)"
    ),
    "0d3648bd0f6ba80134a33ba9275ac585d9d315f0ad8355cddefde31afa28d0e9": (
        "PairCreated(address,address,address,uint256)"
    ),
    "8be0079c531659141344cd1fd0a4f28419497f9722a3daafe3b4186f6b6457e0": (
        "OwnershipTransferred(address,address)"
    ),
    "bc7cd75a20ee27fd9adebab32041f755214dbc6bffa90cc0225b39da2e5c2d3b": "Upgraded(address)",
    "7e644d79422f17c01e4894b5f4f588d331ebfa28653d42ae832dc59e38c9798f": "AdminChanged(address,address)",
    "7f26b83ff96e1f2b6a682f133852f6798a09c465da95921460cefb3847402498": "Initialized(uint8)",
    "c7f505b2f371ae2175ee4913f4499e1f2633a7b5936321eed1cdaeb6115181d2": "Initialized(uint64)",
    "2f8788117e7eff1d82e926ec794901d17c78024a50270940304540a733656f0d": (
        "RoleGranted(bytes32,address,address)"
    ),
    "f6391f5c32d9c69d2a47ea670b442974b53935d1edc7fd64eb21e047a839171b": (
        "RoleRevoked(bytes32,address,address)"
    ),
    "62e78cea01bee320cd4e420270b5ea74000d11b0c9f74754ebdbfc544b05a258": "Paused(address)",
    "5db9ee0a495bf2e6ff9c91a7834c1ba4fdd244a5e8aa4e537bd38aeae4b073aa": "Unpaused(address)",
    "13ed6866d4e1ee6da46f845c46d7e54120883d75c5ea9a2dacc1c4ca8984ab80": (
        "Borrow(address,uint256,uint256,uint256)"
    ),
    "1a2a22cb034d26d1854bdc6666a5b91fe25efbbb5dcad3b0355478d6f5c362a1": (
        "RepayBorrow(address,address,uint256,uint256,uint256)"
    ),
    "298637f684da70674f26509b10f07ec2fbc77a335ab1e7d6215a4b2484d8bb52": (
        "LiquidateBorrow(address,address,uint256,address,uint256)"
    ),
    "efefaba5e921573100900a3ad9cf29f222d995fb3b6045797eaea7521bd8d6f0": (
        "FlashLoan(address,address,address,uint256,uint8,uint256,uint16)"
    ),
    "8b3e96f2b889fa771c53c981b40daf005f63f637f1869f707052d15a3dd97140": (
        "TokenExchange(address,int128,uint256,int128,uint256)"
    ),
    "442e715f626346e8c54381002da614f62bee8d27386535b2521ec8540898556e": "ExecutionSuccess(bytes32,uint256)",
}


def signature(selector: bytes) -> str:
    """The signature of a selector (4 bytes) or topic (32 bytes), or its hexadecimal digits."""
    name = selector.hex()
    return SELECTORS.get(name) or TOPICS.get(name) or f"0x{name}"
