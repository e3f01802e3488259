//! Coefficients of explicit embedded Runge–Kutta pairs, as plain data with their sources.
//!
//! Knows no field and no step: [`super::explicit_rk`] turns a tableau into a stepper. Every pair evaluates the field at the
//! end of its step as well; that evaluation is the first one of the next step, and interpolants use it. The tests check each
//! tableau as algebra, against the order conditions of rooted trees.

/// An explicit embedded pair. With s = `weights.len()` stages the field is evaluated s − 1 times at inner stages and once at
/// the end of the step, so that the error and dense weights have s + 1 entries (the last belongs to the end).
#[derive(Debug)]
pub struct Tableau {
    /// Name as written in scenario files.
    pub name: &'static str,
    /// Where the coefficients are published.
    pub citation: &'static str,
    /// Order of the propagated solution.
    pub order: u32,
    /// Order of the error estimate plus one.
    pub error_exponent: u32,
    /// c_2 … c_s (c_1 = 0).
    pub nodes: &'static [f64],
    /// Rows a_2 … a_s; row i has i − 1 entries.
    pub stages: &'static [&'static [f64]],
    /// b_1 … b_s.
    pub weights: &'static [f64],
    /// How the error of a step is estimated.
    pub error: ErrorWeights,
    /// How the step is interpolated.
    pub dense: Dense,
}

/// Weights of the error estimate; each set has s + 1 entries and is multiplied by h.
#[derive(Debug)]
pub enum ErrorWeights {
    /// The error is h Σ e_i k_i.
    Single(&'static [f64]),
    /// With ‖·‖ the WRMS norm and e5, e3 the two vectors, the error is ‖e5‖² / √(‖e5‖² + 0.01 ‖e3‖²): the larger e3 corrects
    /// an e5 that is small by chance (Hairer, Nørsett & Wanner, *Solving ODEs I*, eq. II.10.17).
    Pair {
        /// Weights of the fifth-order estimate.
        fifth: &'static [f64],
        /// Weights of the third-order estimate.
        third: &'static [f64],
    },
}

/// Continuous extension of a step, y(t + x·h) for 0 ≤ x ≤ 1.
#[derive(Debug)]
pub enum Dense {
    /// Cubic through the values and the field at both ends; order 3.
    CubicHermite,
    /// y_0 + h Σ b_i(x) k_i with b_i(x) = Σ_p w_ip x^(p+1); one row of w for each of the s + 1 stages.
    StageWeights(&'static [[f64; 4]]),
    /// Hairer's nested form y_0 + x(F_0 + (1−x)(F_1 + x(F_2 + (1−x)(F_3 + x(F_4 + …))))) where F_0 … F_2 are the cubic Hermite part and
    /// F_(3+j) = h Σ d_ji k_i, over extra stages if need be.
    Nested {
        /// Nodes of the extra stages.
        nodes: &'static [f64],
        /// Rows of the extra stages over all stages before them, the end of the step included.
        stages: &'static [&'static [f64]],
        /// Rows d_0, d_1, … over all stages.
        weights: &'static [&'static [f64]],
    },
}

impl Dense {
    /// Number of field evaluations that preparing the interpolant costs.
    pub fn n_extra_stages(&self) -> usize {
        match self {
            Self::CubicHermite | Self::StageWeights(_) => 0,
            Self::Nested { nodes, .. } => nodes.len(),
        }
    }
}

impl Tableau {
    /// Number of stages s, the evaluation at the end of the step not counted.
    pub fn n_stages(&self) -> usize {
        self.weights.len()
    }

    /// The stability function R(z): one step on ẏ = λy with z = hλ multiplies y by R(z).
    pub fn stability_function(&self, z: f64) -> f64 {
        let mut stage = Vec::with_capacity(self.n_stages());
        stage.push(1.0);
        for row in self.stages {
            stage.push(1.0 + z * dot(row, &stage));
        }
        1.0 + z * dot(self.weights, &stage)
    }

    /// Length of the real stability interval: the largest x with |R(z)| ≤ 1 on all of [−x, 0], to 1e-12.
    pub fn stability_interval(&self) -> f64 {
        // A scan finds the first exit, because |R| may come back below one further left. Rounding of R near z = 0, where R ≈ 1 + z,
        // is far below the scan's step.
        let stable = |x: f64| self.stability_function(-x).abs() <= 1.0;
        let scan = 0.01;
        let mut outside = scan;
        while stable(outside) {
            outside += scan;
        }
        let mut inside = outside - scan;
        while outside - inside > 1e-12 {
            let middle = 0.5 * (inside + outside);
            if stable(middle) {
                inside = middle;
            } else {
                outside = middle;
            }
        }
        inside
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The pair of orders 3(2) of Bogacki and Shampine: three evaluations per step, cubic Hermite dense output.
pub static BOGACKI_SHAMPINE_32: Tableau = Tableau {
    name: "BogackiShampine32",
    citation: "P. Bogacki, L. F. Shampine, A 3(2) pair of Runge-Kutta formulas, Appl. Math. Lett. 2 (1989) 321-325",
    order: 3,
    error_exponent: 3,
    nodes: &[0.5, 0.75],
    stages: &[&[0.5], &[0.0, 0.75]],
    weights: &[2.0 / 9.0, 1.0 / 3.0, 4.0 / 9.0],
    error: ErrorWeights::Single(&[2.0 / 9.0 - 7.0 / 24.0, 1.0 / 3.0 - 1.0 / 4.0, 4.0 / 9.0 - 1.0 / 3.0, -1.0 / 8.0]),
    dense: Dense::CubicHermite,
};

/// The pair of orders 5(4) of Tsitouras: six evaluations per step, his interpolant of order 4.
pub static TSIT5: Tableau = Tableau {
    name: "Tsit5",
    citation: "Ch. Tsitouras, Runge-Kutta pairs of order 5(4) satisfying only the first column simplifying assumption, Comput. Math. Appl. 62 (2011) 770-775",
    order: 5,
    error_exponent: 5,
    nodes: &[0.161, 0.327, 0.9, 0.9800255409045097, 1.0],
    stages: &[
        &[0.161],
        &[-0.008480655492356989, 0.335480655492357],
        &[2.8971530571054935, -6.359448489975075, 4.3622954328695815],
        &[5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525],
        &[5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401, -0.028269050394068383],
    ],
    weights: &[0.09646076681806523, 0.01, 0.4798896504144996, 1.379008574103742, -3.290069515436081, 2.324710524099774],
    error: ErrorWeights::Single(&[
        -0.001780011052225777,
        -0.0008164344596567469,
        0.007880878010261995,
        -0.1447110071732629,
        0.5823571654525552,
        -0.45808210592918697,
        1.0 / 66.0,
    ]),
    dense: Dense::StageWeights(&[
        [1.0, -2.763706197274826, 2.9132554618219126, -1.0530884977290216],
        [0.0, 0.1317, -0.2234, 0.1017],
        [0.0, 3.9302962368947516, -5.941033872131505, 2.490627285651253],
        [0.0, -12.411077166933676, 30.33818863028232, -16.548102889244902],
        [0.0, 37.50931341651104, -88.1789048947664, 47.37952196281928],
        [0.0, -27.896526289197286, 65.09189467479366, -34.87065786149661],
        [0.0, 1.5, -4.0, 2.5],
    ]),
};

/// The pair of orders 5(4) of Dormand and Prince: six evaluations per step, the interpolant of order 4 of Hairer's code DOPRI5.
pub static DORMAND_PRINCE_54: Tableau = Tableau {
    name: "DormandPrince54",
    citation: "J. R. Dormand, P. J. Prince, A family of embedded Runge-Kutta formulae, J. Comput. Appl. Math. 6 (1980) 19-26; \
               interpolant: E. Hairer, S. P. Norsett, G. Wanner, Solving Ordinary Differential Equations I, 2nd ed., 1993, section II.6",
    order: 5,
    error_exponent: 5,
    nodes: &[0.2, 0.3, 0.8, 8.0 / 9.0, 1.0],
    stages: &[
        &[0.2],
        &[3.0 / 40.0, 9.0 / 40.0],
        &[44.0 / 45.0, -56.0 / 15.0, 32.0 / 9.0],
        &[19372.0 / 6561.0, -25360.0 / 2187.0, 64448.0 / 6561.0, -212.0 / 729.0],
        &[9017.0 / 3168.0, -355.0 / 33.0, 46732.0 / 5247.0, 49.0 / 176.0, -5103.0 / 18656.0],
    ],
    weights: &[35.0 / 384.0, 0.0, 500.0 / 1113.0, 125.0 / 192.0, -2187.0 / 6784.0, 11.0 / 84.0],
    error: ErrorWeights::Single(&[
        71.0 / 57600.0,
        0.0,
        -71.0 / 16695.0,
        71.0 / 1920.0,
        -17253.0 / 339200.0,
        22.0 / 525.0,
        -1.0 / 40.0,
    ]),
    dense: Dense::Nested {
        nodes: &[],
        stages: &[],
        weights: &[&[
            -12715105075.0 / 11282082432.0,
            0.0,
            87487479700.0 / 32700410799.0,
            -10690763975.0 / 1880347072.0,
            701980252875.0 / 199316789632.0,
            -1453857185.0 / 822651844.0,
            69997945.0 / 29380423.0,
        ]],
    },
};

/// The method of order 8 with error estimates of orders 5 and 3 behind Hairer's code DOP853: twelve evaluations per step, three
/// more for its interpolant of order 7.
pub static DOP853: Tableau = Tableau {
    name: "Dop853",
    citation: "E. Hairer, S. P. Norsett, G. Wanner, Solving Ordinary Differential Equations I, 2nd ed., Springer 1993, sec. II.5 and II.10, and the code DOP853",
    order: 8,
    // The combined estimate ‖e5‖²/‖e3‖ shrinks like h^(2·6 − 4) = h^8.
    error_exponent: 8,
    nodes: &[
        0.05260015195876773,
        0.0789002279381516,
        0.1183503419072274,
        0.2816496580927726,
        0.3333333333333333,
        0.25,
        0.3076923076923077,
        0.6512820512820513,
        0.6,
        0.8571428571428571,
        1.0,
    ],
    stages: &[
        &[0.05260015195876773],
        &[0.0197250569845379, 0.0591751709536137],
        &[0.02958758547680685, 0.0, 0.08876275643042054],
        &[0.2413651341592667, 0.0, -0.8845494793282861, 0.924834003261792],
        &[0.037037037037037035, 0.0, 0.0, 0.17082860872947386, 0.12546768756682242],
        &[0.037109375, 0.0, 0.0, 0.17025221101954405, 0.06021653898045596, -0.017578125],
        &[
            0.03709200011850479,
            0.0,
            0.0,
            0.17038392571223998,
            0.10726203044637328,
            -0.015319437748624402,
            0.008273789163814023,
        ],
        &[
            0.6241109587160757,
            0.0,
            0.0,
            -3.3608926294469414,
            -0.868219346841726,
            27.59209969944671,
            20.154067550477894,
            -43.48988418106996,
        ],
        &[
            0.47766253643826434,
            0.0,
            0.0,
            -2.4881146199716677,
            -0.590290826836843,
            21.230051448181193,
            15.279233632882423,
            -33.28821096898486,
            -0.020331201708508627,
        ],
        &[
            -0.9371424300859873,
            0.0,
            0.0,
            5.186372428844064,
            1.0914373489967295,
            -8.149787010746927,
            -18.52006565999696,
            22.739487099350505,
            2.4936055526796523,
            -3.0467644718982196,
        ],
        &[
            2.273310147516538,
            0.0,
            0.0,
            -10.53449546673725,
            -2.0008720582248625,
            -17.9589318631188,
            27.94888452941996,
            -2.8589982771350235,
            -8.87285693353063,
            12.360567175794303,
            0.6433927460157636,
        ],
    ],
    weights: &[
        0.054293734116568765,
        0.0,
        0.0,
        0.0,
        0.0,
        4.450312892752409,
        1.8915178993145003,
        -5.801203960010585,
        0.3111643669578199,
        -0.1521609496625161,
        0.20136540080403034,
        0.04471061572777259,
    ],
    error: ErrorWeights::Pair {
        fifth: &[
            0.01312004499419488,
            0.0,
            0.0,
            0.0,
            0.0,
            -1.2251564463762044,
            -0.4957589496572502,
            1.6643771824549864,
            -0.35032884874997366,
            0.3341791187130175,
            0.08192320648511571,
            -0.022355307863886294,
            0.0,
        ],
        third: &[
            -0.18980075407240762,
            0.0,
            0.0,
            0.0,
            0.0,
            4.450312892752409,
            1.8915178993145003,
            -5.801203960010585,
            -0.4226823213237919,
            -0.1521609496625161,
            0.20136540080403034,
            0.02265179219836082,
            0.0,
        ],
    },
    dense: Dense::Nested {
        nodes: &[0.1, 0.2, 0.7777777777777778],
        stages: &[
            &[
                0.056167502283047954,
                0.0,
                0.0,
                0.0,
                0.0,
                0.0,
                0.25350021021662483,
                -0.2462390374708025,
                -0.12419142326381637,
                0.15329179827876568,
                0.00820105229563469,
                0.007567897660545699,
                -0.008298,
            ],
            &[
                0.03183464816350214,
                0.0,
                0.0,
                0.0,
                0.0,
                0.028300909672366776,
                0.053541988307438566,
                -0.05492374857139099,
                0.0,
                0.0,
                -0.00010834732869724932,
                0.0003825710908356584,
                -0.00034046500868740456,
                0.1413124436746325,
            ],
            &[
                -0.42889630158379194,
                0.0,
                0.0,
                0.0,
                0.0,
                -4.697621415361164,
                7.683421196062599,
                4.06898981839711,
                0.3567271874552811,
                0.0,
                0.0,
                0.0,
                -0.0013990241651590145,
                2.9475147891527724,
                -9.15095847217987,
            ],
        ],
        weights: &[
            &[
                -8.428938276109013,
                0.0,
                0.0,
                0.0,
                0.0,
                0.5667149535193777,
                -3.0689499459498917,
                2.38466765651207,
                2.117034582445028,
                -0.871391583777973,
                2.2404374302607883,
                0.6315787787694688,
                -0.08899033645133331,
                18.148505520854727,
                -9.194632392478356,
                -4.436036387594894,
            ],
            &[
                10.427508642579134,
                0.0,
                0.0,
                0.0,
                0.0,
                242.28349177525817,
                165.20045171727028,
                -374.5467547226902,
                -22.113666853125306,
                7.733432668472264,
                -30.674084731089398,
                -9.332130526430229,
                15.697238121770845,
                -31.139403219565178,
                -9.35292435884448,
                35.81684148639408,
            ],
            &[
                19.985053242002433,
                0.0,
                0.0,
                0.0,
                0.0,
                -387.0373087493518,
                -189.17813819516758,
                527.8081592054236,
                -11.57390253995963,
                6.8812326946963,
                -1.0006050966910838,
                0.7777137798053443,
                -2.778205752353508,
                -60.19669523126412,
                84.32040550667716,
                11.99229113618279,
            ],
            &[
                -25.69393346270375,
                0.0,
                0.0,
                0.0,
                0.0,
                -154.18974869023643,
                -231.5293791760455,
                357.6391179106141,
                93.40532418362432,
                -37.45832313645163,
                104.0996495089623,
                29.8402934266605,
                -43.53345659001114,
                96.32455395918828,
                -39.17726167561544,
                -149.72683625798564,
            ],
        ],
    },
};

#[cfg(test)]
mod tests {
    use super::*;

    /// A rooted tree: the subtrees hanging from its root, in an order that makes equal trees equal.
    #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
    struct Tree(Vec<Tree>);

    impl Tree {
        fn order(&self) -> u32 {
            1 + self.0.iter().map(Self::order).sum::<u32>()
        }

        /// Density γ: the order times the densities of the subtrees.
        fn density(&self) -> f64 {
            f64::from(self.order()) * self.0.iter().map(Self::density).product::<f64>()
        }

        /// Elementary weights Φ_i of all stages, and the same with absolute values everywhere: the scale of their rounding.
        fn elementary_weights(&self, rows: &[Vec<f64>]) -> Vec<(f64, f64)> {
            let subtrees: Vec<_> = self.0.iter().map(|t| t.elementary_weights(rows)).collect();
            let stage = |row: &Vec<f64>| {
                subtrees.iter().fold((1.0, 1.0), |(product, scale), phi| {
                    let (sum, size) = weighted(row, phi);
                    (product * sum, scale * size)
                })
            };
            rows.iter().map(stage).collect()
        }
    }

    /// Σ w_i Φ_i and Σ |w_i| |Φ_i|.
    fn weighted(weights: &[f64], phi: &[(f64, f64)]) -> (f64, f64) {
        weights.iter().zip(phi).fold((0.0, 0.0), |(sum, size), (w, p)| (sum + w * p.0, size + w.abs() * p.1))
    }

    /// All rooted trees of the given order: a root carrying every multiset of smaller trees.
    fn trees(order: u32) -> Vec<Tree> {
        fn forests(vertices: u32, largest: Option<&Tree>, found: &mut Vec<Vec<Tree>>, prefix: &mut Vec<Tree>) {
            if vertices == 0 {
                found.push(prefix.clone());
                return;
            }
            for size in 1..=vertices {
                for tree in trees(size) {
                    if largest.is_none_or(|l| tree <= *l) {
                        prefix.push(tree.clone());
                        forests(vertices - size, Some(&tree), found, prefix);
                        prefix.pop();
                    }
                }
            }
        }
        let mut found = Vec::new();
        forests(order - 1, None, &mut found, &mut Vec::new());
        found.into_iter().map(Tree).collect()
    }

    /// Full rows a_1 … of the stages, the end of the step (row b) and the extra stages, all of one length.
    fn rows(tableau: &Tableau) -> Vec<Vec<f64>> {
        let extra: &[&[f64]] = match &tableau.dense {
            Dense::Nested { stages, .. } => stages,
            _ => &[],
        };
        let rows: Vec<&[f64]> = [&[][..]]
            .into_iter()
            .chain(tableau.stages.iter().copied())
            .chain([tableau.weights])
            .chain(extra.iter().copied())
            .collect();
        let n = rows.len();
        rows.into_iter().map(|row| row.iter().copied().chain(std::iter::repeat(0.0)).take(n).collect()).collect()
    }

    /// Largest violation of the conditions Σ w_i Φ_i(tree) = target/γ over all trees of one order, in units of rounding.
    fn violation(tableau: &Tableau, weights: &[f64], order: u32, target: f64) -> f64 {
        let rows = rows(tableau);
        trees(order)
            .iter()
            .map(|tree| {
                let (sum, size) = weighted(weights, &tree.elementary_weights(&rows));
                (sum - target / tree.density()).abs() / (f64::EPSILON * size.max(target / tree.density()))
            })
            .fold(0.0, f64::max)
    }

    /// A coefficient is within ε/2 of the published one, and a condition of order ≤ 8 multiplies at most eight of them and sums 16
    /// terms at each of at most eight levels; the sizes are already those with absolute values.
    const ROUNDING: f64 = 8.0 + 8.0 * 16.0;

    const ALL: [&Tableau; 4] = [&BOGACKI_SHAMPINE_32, &TSIT5, &DORMAND_PRINCE_54, &DOP853];

    /// b_i(x) of the interpolant over all stages.
    fn dense_weights(tableau: &Tableau, x: f64) -> Vec<f64> {
        let n = rows(tableau).len();
        let s = tableau.n_stages();
        // y1 − y0 = h Σ b_i k_i, k_1 at the start, k_(s+1) at the end.
        let hermite = |of_difference: f64, of_start: f64, of_end: f64| {
            let mut w: Vec<f64> = (0..n).map(|i| tableau.weights.get(i).map_or(0.0, |b| b * of_difference)).collect();
            w[0] += of_start;
            w[s] += of_end;
            w
        };
        match &tableau.dense {
            Dense::CubicHermite => hermite(x * x * (3.0 - 2.0 * x), x * (1.0 - x).powi(2), -x * x * (1.0 - x)),
            Dense::StageWeights(table) => {
                table.iter().map(|w| w.iter().rev().fold(0.0, |sum, c| (sum + c) * x)).collect()
            }
            Dense::Nested { weights, .. } => {
                let u = 1.0 - x;
                let mut w = hermite(x * x * (3.0 - 2.0 * x), x * u * u, -x * x * u);
                let mut factor = x * x * u * u;
                for (j, row) in weights.iter().enumerate() {
                    w.iter_mut().zip(*row).for_each(|(w, d)| *w += factor * d);
                    factor *= if j % 2 == 0 { x } else { u };
                }
                w
            }
        }
    }

    #[test]
    fn trees_are_counted_as_in_the_literature() {
        let counts: Vec<_> = (1..=8).map(|order| trees(order).len()).collect();
        assert_eq!(counts, [1, 1, 2, 4, 9, 20, 48, 115]);
    }

    #[test]
    fn rows_sum_to_their_nodes() {
        for tableau in ALL {
            let mut nodes = vec![0.0];
            nodes.extend(tableau.nodes);
            nodes.push(1.0);
            if let Dense::Nested { nodes: extra, .. } = &tableau.dense {
                nodes.extend(*extra);
            }
            for (row, node) in rows(tableau).iter().zip(&nodes) {
                let size: f64 = row.iter().map(|a| a.abs()).sum();
                let gap = (row.iter().sum::<f64>() - node).abs();
                assert!(
                    gap <= ROUNDING * f64::EPSILON * size,
                    "{}: row sum misses node {node} by {gap:e}",
                    tableau.name
                );
            }
        }
    }

    #[test]
    fn the_propagated_solution_meets_the_conditions_of_its_order_and_no_more() {
        for tableau in ALL {
            for order in 1..=tableau.order {
                let v = violation(tableau, tableau.weights, order, 1.0);
                assert!(v <= ROUNDING, "{}: order {order} violated by {v} roundings", tableau.name);
            }
            if tableau.order < 8 {
                let v = violation(tableau, tableau.weights, tableau.order + 1, 1.0);
                assert!(v > 1e6, "{}: order {} holds as well", tableau.name, tableau.order + 1);
            }
        }
    }

    #[test]
    fn error_weights_vanish_up_to_the_embedded_order_and_not_beyond() {
        for tableau in ALL {
            let sets: Vec<(&[f64], u32)> = match &tableau.error {
                ErrorWeights::Single(weights) => vec![(weights, tableau.error_exponent - 1)],
                ErrorWeights::Pair { fifth, third } => vec![(fifth, 5), (third, 3)],
            };
            for (weights, embedded) in sets {
                assert_eq!(weights.len(), tableau.n_stages() + 1);
                for order in 1..=embedded {
                    let v = violation(tableau, weights, order, 0.0);
                    assert!(v <= ROUNDING, "{}: embedded order {order} violated by {v} roundings", tableau.name);
                }
                let v = violation(tableau, weights, embedded + 1, 0.0);
                assert!(v > 1e6, "{}: the estimate misses order {}", tableau.name, embedded + 1);
            }
        }
    }

    #[test]
    fn interpolants_meet_the_order_conditions_at_every_point() {
        for (tableau, dense_order) in [(&BOGACKI_SHAMPINE_32, 3), (&TSIT5, 4), (&DORMAND_PRINCE_54, 4), (&DOP853, 7)] {
            for x in [0.0, 0.1, 0.35, 0.5, 0.8, 1.0] {
                let weights = dense_weights(tableau, x);
                for order in 1..=dense_order {
                    let v = violation(tableau, &weights, order, f64::powi(x, order as i32));
                    assert!(v <= 4.0 * ROUNDING, "{} at {x}: order {order} violated by {v} roundings", tableau.name);
                }
            }
        }
    }

    #[test]
    fn stability_intervals_are_the_known_ones() {
        // BS32: the real root of 1 + z + z²/2 + z³/6 = −1 (the classical 2.51); Tsit5: 3.51 in surveys of the pair; Dormand–Prince: where
        // 1 + z + … + z⁵/120 + z⁶/600 = 1 (the classical 3.31). The value of Dop853 is our own and holds the coefficients of R in place.
        let known = [(&BOGACKI_SHAMPINE_32, 2.5127), (&TSIT5, 3.5068), (&DORMAND_PRINCE_54, 3.3066), (&DOP853, 6.3937)];
        for (tableau, known) in known {
            let found = tableau.stability_interval();
            assert!((found - known).abs() < 1e-4, "{}: {found}", tableau.name);
        }
    }
}
