// The recipe of `gradually speedrun`, for `gradually train recipes/speedrun.ts --set …`: the same run without its examinations.

import { speedrunRecipe } from "../src/cli/speedrun-recipe.ts";

export const recipe = speedrunRecipe();
export default recipe;
