"""Every figure: one file each, `draw(tables) -> Figure`, from the tables in results/ alone."""
